//! A line that breaks: a TCP proxy before the store or the database, which refuses, says nothing, resets, trickles or loses
//! answers, whatever is spoken over it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// How it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Open,
    /// Nobody listens, and connections are reset.
    Refused,
    /// What is sent is neither answered nor refused, on old connections and new ones.
    Silent,
    /// Connections are reset when the client has sent this many bytes.
    Reset(u64),
    /// So few bytes a second each way.
    Trickle(usize),
    /// Connections of before are reset instead of answered: what was asked is done, and nobody hears of it.
    Deaf,
}

/// The line.
pub struct Wire {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    injected: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Wire {
    /// A sound one that leads to this port of 127.0.0.1.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Open);
        let injected = Arc::new(AtomicU64::new(0));
        let line = Line { upstream: (Ipv4Addr::LOCALHOST, port).into(), modes, injected: Arc::clone(&injected) };
        let task = tokio::spawn(serve(listener, line));
        Self { address, mode, injected, _task: AbortOnDropHandle::new(task) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on it breaks like this.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Connections that were refused, reset or kept waiting.
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Line {
    upstream: SocketAddr,
    modes: watch::Receiver<Mode>,
    injected: Arc<AtomicU64>,
}

impl Line {
    fn count(&self) {
        self.injected.fetch_add(1, Ordering::SeqCst);
    }
}

async fn serve(listener: TcpListener, mut line: Line) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        if *line.modes.borrow_and_update() == Mode::Refused {
            // The port is closed for whoever comes.
            listener = None;
        } else if listener.is_none() {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            listener = Some(socket.listen(1024).unwrap());
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.unwrap().0,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = line.modes.changed() => if changed.is_err() { return },
            client = accepted => { connections.spawn(connection(client, line.clone())); }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Whether a connection ends in order or by a reset.
enum End {
    Closed,
    Reset,
}

async fn connection(mut client: TcpStream, line: Line) {
    let Ok(mut server) = TcpStream::connect(line.upstream).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    if let End::Reset = pump(&mut client, &mut server, line).await {
        for stream in [&client, &server] {
            stream.set_zero_linger().unwrap();
        }
    }
}

async fn pump(client: &mut TcpStream, server: &mut TcpStream, mut line: Line) -> End {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut mode = *line.modes.borrow_and_update();
    // Since the mode it is in.
    let (mut born, mut sent, mut counted) = (true, 0, false);
    loop {
        let now = *line.modes.borrow_and_update();
        if now != mode {
            (mode, born, sent, counted) = (now, false, 0, false);
        }
        if mode == Mode::Refused {
            line.count();
            return End::Reset;
        }
        if !counted && matches!(mode, Mode::Silent | Mode::Trickle(_)) {
            counted = true;
            line.count();
        }
        if mode == Mode::Silent {
            if line.modes.changed().await.is_err() {
                return End::Closed;
            }
            continue;
        }
        let at_once = if let Mode::Trickle(rate) = mode { (rate / 10).max(1) } else { up.len() };
        tokio::select! {
            changed = line.modes.changed() => {
                if changed.is_err() {
                    return End::Closed;
                }
            }
            read = client.read(&mut up[..at_once]) => {
                let Ok(read @ 1..) = read else { return End::Closed };
                sent += read as u64;
                if server.write_all(&up[..read]).await.is_err() {
                    return End::Closed;
                }
                if let Mode::Reset(after) = mode && sent >= after {
                    line.count();
                    return End::Reset;
                }
            }
            read = server.read(&mut down[..at_once]) => {
                let Ok(read @ 1..) = read else { return End::Closed };
                if mode == Mode::Deaf && !born {
                    line.count();
                    return End::Reset;
                }
                if client.write_all(&down[..read]).await.is_err() {
                    return End::Closed;
                }
            }
        }
        if let Mode::Trickle(_) = mode {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
