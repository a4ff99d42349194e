//! The embedded broker alone, until Ctrl-C: `cargo run -p aqueduct-devserver --example broker -- 127.0.0.1:9092`.

use aqueduct_devserver::{DevBroker, Limits};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let broker = DevBroker::start(&address, Limits::default()).await?;
    println!("listening on {}", broker.address());
    tokio::signal::ctrl_c().await?;
    broker.stop().await;
    Ok(())
}
