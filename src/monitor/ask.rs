//! Asks the daemon that runs on this machine how its folders stand.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::status::Status;

/// For the whole answer. It comes from this machine and is short, so who is silent for longer is not there.
const PATIENCE: Duration = Duration::from_secs(1);
/// A thousand folders take less.
const LARGEST: usize = 4 << 20;

/// Why nothing is known from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nobody listens there, or nobody answers in time.
    NoAnswer,
    /// Somebody answers, but no daemon of ours.
    Stranger,
}

/// Asks the monitor at this address.
///
/// # Errors
/// If there is no daemon.
pub async fn ask(address: SocketAddr) -> Result<Status, Silence> {
    match tokio::time::timeout(PATIENCE, get(reachable(address))).await {
        Ok(Some((StatusCode::OK, body))) => serde_json::from_slice(&body).map_err(|_| Silence::Stranger),
        Ok(Some(_)) => Err(Silence::Stranger),
        Ok(None) | Err(_) => Err(Silence::NoAnswer),
    }
}

/// One that listens on all addresses is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

/// Status and body of `/status`. None if the connection can't be made, breaks, or is not HTTP.
async fn get(address: SocketAddr) -> Option<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get("/status").header(header::HOST, address.to_string()).body(Empty::<Bytes>::new()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.ok()?;
    Some((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes, or, where there are none, not at all.
    async fn listening(answer: &'static str) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(String::from_utf8_lossy(&request[..length]).starts_with("GET /status HTTP/1.1\r\n"));
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        (address, AbortOnDropHandle::new(task))
    }

    #[tokio::test]
    async fn only_a_daemon_of_ours_is_believed() {
        let silent = [
            ("", Silence::NoAnswer),
            ("SSH-2.0-OpenSSH_9.2\r\n", Silence::NoAnswer),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Silence::Stranger),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbusy", Silence::Stranger),
            ("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"folders\":[]}", Silence::Stranger),
        ];
        for (answer, silence) in silent {
            let (address, _task) = listening(answer).await;
            assert_eq!(ask(address).await, Err(silence), "{answer:?}");
        }
        let body = r#"{"version":"1","agent":"a","folders":[],"new":true}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (address, _task) = listening(answer.leak()).await;
        assert_eq!(ask(address).await.map(|status| status.agent).as_deref(), Ok("a"));
    }

    #[tokio::test]
    async fn nobody_is_not_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(ask(address).await, Err(Silence::NoAnswer));
    }

    #[test]
    fn all_addresses_are_reached_by_loopback() {
        for (listen, reached) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")] {
            assert_eq!(reachable(listen.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
