//! A long body that survives broken connections.
//!
//! Invariant: the consumer sees each byte once and in order; what a server sends again is skipped.

use std::{pin::Pin, sync::Arc};

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use reqwest::{Response, StatusCode, header};

use super::{BlobBody, fetch::Place};
use crate::{
    error::{Error, Result},
    retry::{Again, Attempts, Failure, RetryPolicy},
};

/// So many bytes are progress enough to begin counting attempts anew.
const PROGRESS_BYTES: u64 = 64 << 10;

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// Opens a body from `offset` on.
pub(super) async fn open(place: Place, offset: u64, retry: RetryPolicy) -> Result<BlobBody> {
    let place = Arc::new(place);
    let mut attempts = Attempts::new(retry);
    let part = loop {
        match part(&place, offset).await {
            Ok(part) => break part,
            Err(failure) => attempts.wait_or_give_up(failure).await?,
        }
    };
    let (start, total) = (part.start, part.total);
    let body = Body {
        place,
        chunks: Some(part.chunks),
        position: start,
        resumed_at: start,
        skip: 0,
        total,
        attempts: Attempts::new(retry),
    };
    let stream = stream::try_unfold(body, |mut body| async move {
        Ok(body.next().await?.map(|chunk| (chunk, body)))
    });
    Ok(BlobBody {
        stream: Box::pin(stream),
        start,
        total,
    })
}

/// An answer, and which part of the whole it is.
struct Part {
    chunks: Chunks,
    start: u64,
    total: Option<u64>,
}

async fn part(place: &Place, offset: u64) -> Result<Part, Failure> {
    let response = match place.get(None, offset).await {
        // nothing of what was asked for exists, so what was kept is not the beginning of this
        Err(Failure {
            error: Error::Status { status: 416, .. },
            ..
        }) if offset > 0 => place.get(None, 0).await?,
        other => other?,
    };
    let (start, total) = if response.status() == StatusCode::PARTIAL_CONTENT {
        let range = header_text(&response, &header::CONTENT_RANGE).and_then(parse_content_range);
        match range {
            Some((start, total)) if start == offset => (start, total),
            _ => {
                let message = format!("it sent another part than the one from byte {offset} on");
                return Err(place.protocol(message).into());
            }
        }
    } else {
        (0, response.content_length())
    };
    Ok(Part {
        chunks: Box::pin(response.bytes_stream()),
        start,
        total,
    })
}

struct Body {
    place: Arc<Place>,
    /// `None` while the connection is broken.
    chunks: Option<Chunks>,
    position: u64,
    /// Where the present connection began.
    resumed_at: u64,
    /// Bytes to drop because the server began before `position`.
    skip: u64,
    total: Option<u64>,
    attempts: Attempts,
}

impl Body {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let failure = match self.chunks.as_mut() {
                None => match self.reopen().await {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
                Some(chunks) => match chunks.next().await {
                    Some(Ok(chunk)) => match self.take(chunk)? {
                        Some(chunk) => return Ok(Some(chunk)),
                        None => continue,
                    },
                    Some(Err(error)) => self.place.broken(error),
                    None if self.total.is_none_or(|total| total == self.position) => {
                        return Ok(None);
                    }
                    None => Failure {
                        again: Again::Soon,
                        error: self.place.protocol("its answer ended early".to_owned()),
                    },
                },
            };
            self.chunks = None;
            if self.position - self.resumed_at >= PROGRESS_BYTES {
                self.attempts.reset();
            }
            self.resumed_at = self.position;
            self.attempts.wait_or_give_up(failure).await?;
        }
    }

    async fn reopen(&mut self) -> Result<(), Failure> {
        let part = part(&self.place, self.position).await?;
        if let (Some(before), Some(now)) = (self.total, part.total)
            && before != now
        {
            let message = format!("its size changed from {before} to {now} bytes meanwhile");
            return Err(self.place.protocol(message).into());
        }
        self.skip = self.position - part.start;
        self.chunks = Some(part.chunks);
        Ok(())
    }

    /// Counts a chunk, less what was had before.
    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        let skipped = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        chunk.advance(skipped);
        self.skip -= skipped as u64;
        self.position += chunk.len() as u64;
        if let Some(total) = self.total
            && self.position > total
        {
            return Err(self
                .place
                .protocol(format!("it sent more than its {total} bytes")));
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

fn header_text<'a>(response: &'a Response, name: &header::HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Reads `bytes 5-9/10`: where the part starts and how large the whole is.
fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(parse_content_range("bytes */10"), None);
        assert_eq!(parse_content_range("5-9/10"), None);
    }
}
