//! A server with axum and tokio that can be reloaded without losing a request: the lines of the README, pages, and a
//! listener that stops a moment before the server does.
//! ```sh
//! cargo build --example axum_server
//! fd3 run -l :3000 --workers 2 --ready notify -- target/debug/examples/axum_server
//! curl localhost:3000/            # also "/slow?ms=500"
//! ```
//!
//! Without fd3 it binds 127.0.0.1:3000 itself.

use std::net::SocketAddr;
use std::time::Duration;

use axum::{Router, extract::Request, routing::get, serve::Listener};
use fd3::serve::Stop;
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A server that is told to stop closes connections that it has taken and read nothing of (hyper does): for so long
/// it takes no more by then.
const FIRST_REQUESTS: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(hello)).route("/slow", get(slow));
    let listener = fd3::inherit::bind_or_inherit("127.0.0.1:3000")?;
    listener.set_nonblocking(true)?;
    let [stop, last] = [Stop::on_signals()?, Stop::on_signals()?];
    let [stop, last] = [UnixStream::from_std(stop.into())?, UnixStream::from_std(last.into())?];
    let listener = UntilTold { listener: TcpListener::from_std(listener)?, stop };
    fd3::ready::ready()?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = last.readable().await;
            tokio::time::sleep(FIRST_REQUESTS).await;
        })
        .await?;
    Ok(())
}

/// Takes connections until it is told to stop.
struct UntilTold {
    listener: TcpListener,
    stop: UnixStream,
}

impl Listener for UntilTold {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        tokio::select! {
            biased;
            _ = self.stop.readable() => std::future::pending().await,
            next = Listener::accept(&mut self.listener) => next,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn hello() -> String {
    format!("Hello from axum, pid {},\n", std::process::id())
}

async fn slow(request: Request) -> String {
    let ms = request.uri().query().and_then(|query| query.strip_prefix("ms=")?.parse().ok());
    tokio::time::sleep(Duration::from_millis(ms.unwrap_or(500))).await;
    hello().await
}
