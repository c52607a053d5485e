//! An S3 server for the container of `make test-systemd`: `store FOLDER PORT ACCESS-KEY-ID SECRET-ACCESS-KEY BUCKET…`. It says when
//! it is ready, and serves until it is ended.

use std::path::Path;

use agent_portail::config::settings::StaticCredentials;
use agent_portail::demo::s3::EmbeddedS3;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, port, id, secret, buckets @ ..] = &arguments[..] else {
        return Err("store FOLDER PORT ACCESS-KEY-ID SECRET-ACCESS-KEY BUCKET…".into());
    };
    let keys = StaticCredentials { access_key_id: id.clone(), secret_access_key: secret.as_str().into() };
    let store = EmbeddedS3::start_with_keys(Path::new(folder), port.parse()?, keys).await?;
    for bucket in buckets {
        store.create_bucket(bucket).await?;
    }
    println!("ready");
    std::future::pending::<()>().await;
    Ok(())
}
