//! The echo server as one writes it with tokio: a task for each connection. One worker is the current-thread runtime.

use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SLOW: Duration = Duration::from_millis(10);

/// A request that begins with 'w' is answered 10 ms later, and one with 'c' after 10 ms of computing.
async fn handle_slowly(kind: u8) {
    match kind {
        b'c' => {
            let until = Instant::now() + SLOW;
            while Instant::now() < until {}
        }
        b'w' => tokio::time::sleep(SLOW).await,
        _ => {}
    }
}

async fn echo(mut stream: TcpStream, slow: bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        if slow {
            handle_slowly(buffer[0]).await;
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

async fn serve(address: String, slow: bool) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream, slow));
    }
}

fn usage() -> ! {
    eprintln!("usage: echo_tokio [--listen HOST:PORT] [--workers N] [--slow]");
    std::process::exit(2);
}

fn main() -> std::io::Result<()> {
    let mut address = "127.0.0.1:0".to_string();
    let mut workers = 1;
    let mut slow = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--slow" => slow = true,
            "--listen" => address = arguments.next().unwrap_or_else(|| usage()),
            "--workers" => {
                workers = arguments.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).unwrap_or_else(|| usage())
            }
            _ => usage(),
        }
    }
    let mut builder = if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if workers > 1 {
        builder.worker_threads(workers);
    }
    let runtime = builder.enable_all().build()?;
    // As a task: what block_on is given doesn't run on a worker.
    runtime.block_on(async { tokio::spawn(serve(address, slow)).await.unwrap() })
}
