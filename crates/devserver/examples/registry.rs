//! The embedded schema registry alone, until Ctrl-C: `cargo run -p aqueduct-devserver --example registry -- 127.0.0.1:8081`.

use aqueduct_devserver::Registry;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let registry = Registry::start(address.parse()?).await?;
    println!("listening at {}; try\n  {}", registry.url(), registry.curl_lines("orders").join("\n  "));
    tokio::signal::ctrl_c().await?;
    registry.stop().await;
    Ok(())
}
