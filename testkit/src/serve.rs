//! An HTTP server whose connections, and itself, can be cut off by its handlers.
//!
//! It runs on a thread of its own, so tests may be blocking or asynchronous. Invariant: dropping the
//! [`Server`] ends the listener, the connections and the thread.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Router,
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use futures_util::task::AtomicWaker;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
};
use tokio_rustls::TlsAcceptor;

use crate::ports;

/// Cuts one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection(Arc<Cut>);

#[derive(Debug, Default)]
struct Cut {
    done: AtomicBool,
    waker: AtomicWaker,
}

impl Cut {
    fn cut(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

impl Connection {
    /// Ends the connection without another byte.
    pub(crate) fn cut(&self) {
        self.0.cut();
    }
}

impl Connected<IncomingStream<'_, Ready>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Ready>) -> Self {
        stream.remote_addr().clone()
    }
}

/// How long a server may take to leave its address or to get it back.
const FOLLOWING: Duration = Duration::from_secs(30);

/// What was last asked of the server.
#[derive(Debug, Clone, Copy)]
struct Wish {
    here: bool,
    /// Counts up from 0.
    number: u64,
}

/// Sends the whole server away and brings it back.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    wish: Arc<watch::Sender<Wish>>,
    /// The number of the last wish that the listener has followed.
    followed: Arc<(Mutex<u64>, Condvar)>,
    connections: Arc<Mutex<Vec<Weak<Cut>>>>,
}

impl Presence {
    fn new() -> Self {
        let wish = Wish {
            here: true,
            number: 0,
        };
        Self {
            wish: Arc::new(watch::channel(wish).0),
            followed: Arc::default(),
            connections: Arc::default(),
        }
    }

    /// Closes the listener and cuts every connection, without waiting: also for handlers of the server.
    pub(crate) fn begin_to_leave(&self) -> u64 {
        let number = self.set(false);
        let connections = std::mem::take(&mut *self.connections());
        for cut in connections.iter().filter_map(Weak::upgrade) {
            cut.cut();
        }
        number
    }

    /// Closes the listener and cuts every connection, and returns once new ones are refused.
    pub(crate) fn leave(&self) {
        self.wait_for(self.begin_to_leave());
    }

    /// Listens again at the same address, and returns once it does.
    pub(crate) fn come_back(&self) {
        self.wait_for(self.set(true));
    }

    fn set(&self, here: bool) -> u64 {
        let mut number = 0;
        self.wish.send_modify(|wish| {
            number = wish.number + 1;
            *wish = Wish { here, number };
        });
        number
    }

    fn wait_for(&self, number: u64) {
        let (followed, changed) = &*self.followed;
        let followed = followed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(followed, FOLLOWING, |last| *last < number);
        let (last, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(*last >= number, "the server's address is taken");
    }

    fn follow(&self, wish: Wish) {
        let (followed, changed) = &*self.followed;
        *followed.lock().unwrap_or_else(PoisonError::into_inner) = wish.number;
        changed.notify_all();
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Weak<Cut>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, unless the server has left.
    fn register(&self) -> Option<Connection> {
        // a server that leaves says so before it takes the connections to cut
        let mut all = self.connections();
        if !self.wish.borrow().here {
            return None;
        }
        let connection = Connection::default();
        all.retain(|cut| cut.strong_count() > 0);
        all.push(Arc::downgrade(&connection.0));
        Some(connection)
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) presence: Presence,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds `address` (port 0 takes a free one; on 127.0.0.1 nobody else takes it while the server is away) and serves what `routes` makes of the server's presence.
    pub(crate) fn start(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        routes: impl FnOnce(SocketAddr, Presence) -> Router + Send + 'static,
    ) -> io::Result<Self> {
        let listener = if address == SocketAddr::from(([127, 0, 0, 1], 0)) {
            ports::listener().0
        } else {
            StdListener::bind(address)?
        };
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("test-server")
            .enable_all()
            .build()?;
        let presence = Presence::new();
        let (stop, stopped) = oneshot::channel();
        let there = presence.clone();
        let thread = std::thread::Builder::new()
            .name("test-server".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let handlers = routes(address, there.clone());
                    let (sender, receiver) = mpsc::channel(64);
                    let accepting = tokio::spawn(accept(listener, address, tls, there, sender));
                    let ready = Ready { receiver };
                    let service = handlers.into_make_service_with_connect_info::<Connection>();
                    tokio::select! {
                        _ = stopped => {}
                        _ = axum::serve(ready, service) => {}
                    }
                    accepting.abort();
                });
                runtime.shutdown_background();
            })?;
        Ok(Self {
            address,
            presence,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Accepts while the server is present; TLS handshakes run beside each other.
async fn accept(
    first: StdListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    presence: Presence,
    ready: mpsc::Sender<(CutStream, Connection)>,
) {
    let mut wishes = presence.wish.subscribe();
    let mut listener = TcpListener::from_std(first).ok();
    loop {
        let wish = *wishes.borrow_and_update();
        if !wish.here {
            listener = None;
            presence.follow(wish);
            if wishes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(bound) = listener.as_ref() else {
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            continue;
        };
        presence.follow(wish);
        tokio::select! {
            changed = wishes.changed() => if changed.is_err() { return },
            accepted = bound.accept() => if let Ok((stream, _)) = accepted
                && let Some(connection) = presence.register()
            {
                tokio::spawn(hand_over(stream, tls.clone(), connection, ready.clone()));
            },
        }
    }
}

async fn hand_over(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    connection: Connection,
    ready: mpsc::Sender<(CutStream, Connection)>,
) {
    let inner: Box<dyn Duplex> = match tls {
        None => Box::new(stream),
        Some(config) => match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => Box::new(stream),
            Err(error) => {
                tracing::debug!(%error, "TLS handshake failed");
                return;
            }
        },
    };
    drop(
        ready
            .send((
                CutStream {
                    inner,
                    cut: connection.clone(),
                },
                connection,
            ))
            .await,
    );
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Connections that are ready for HTTP.
pub(crate) struct Ready {
    receiver: mpsc::Receiver<(CutStream, Connection)>,
}

impl Listener for Ready {
    type Io = CutStream;
    type Addr = Connection;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.receiver.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Connection::default())
    }
}

/// A stream that fails in both directions once it is cut.
pub(crate) struct CutStream {
    inner: Box<dyn Duplex>,
    cut: Connection,
}

impl CutStream {
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        self.cut.0.waker.register(context.waker());
        if self.cut.0.done.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
