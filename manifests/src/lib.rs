//! What an edition is: components, editions, sites and images.lock.
