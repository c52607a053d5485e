//! A store that answers anything to ListObjectsV2, over a real connection: a listing is an error, or it has keys of the prefix that was
//! asked for, each once and in order. It comes to an end in any case.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use agent_portail::config::settings::{S3Settings, StaticCredentials};
use agent_portail::remote::{Bucket, Limits, Patience, connect_with};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const PREFIX: &str = "p/";

/// What the store answers, to the first request and to all that follow.
type Answers = Arc<Mutex<[Vec<u8>; 2]>>;

struct Store {
    runtime: Runtime,
    answers: Answers,
    bucket: Bucket,
}

static STORE: LazyLock<Store> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let answers = Answers::default();
    let bucket = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = S3Settings {
            region: Some("region".to_owned()),
            endpoint_url: Some(format!("http://{}", listener.local_addr().unwrap())),
            path_style: true,
            storage_class: None,
            encryption: None,
            credentials: Some(StaticCredentials {
                access_key_id: "key".to_owned(),
                secret_access_key: "secret".to_owned().into(),
            }),
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone()));
            }
        });
        let second = Duration::from_secs(1);
        let patience = Patience { connect: second, answer: second, attempts: 1 };
        let limits = Limits { workers: 1, bandwidth: None };
        connect_with(&settings, &limits, &patience).await.unwrap().bucket("bucket")
    });
    Store { runtime, answers, bucket }
});

/// Requests without a body, one after the other.
async fn serve(mut stream: TcpStream, answers: Answers) {
    let mut request = Vec::new();
    loop {
        let Ok(1..) = stream.read_buf(&mut request).await else { return };
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let again = request.windows(18).any(|part| part == b"continuation-token");
        let body = answers.lock().unwrap()[usize::from(again)].clone();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
            return;
        }
        request.clear();
    }
}

fuzz_target!(|input: &[u8]| {
    // Two documents, with a NUL between them.
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let mut answer = || parts.next().unwrap_or_default().to_vec();
    *STORE.answers.lock().unwrap() = [answer(), answer()];
    STORE.runtime.block_on(async {
        let mut listing = STORE.bucket.list(PREFIX, None);
        let (mut last, mut pages) = (String::new(), 0);
        while let Ok(Some(page)) = listing.next_page().await {
            for (key, _) in page.objects {
                assert!(key.starts_with(PREFIX), "{key:?} is not of the prefix");
                assert!(key > last, "{key:?} after {last:?}");
                last = key;
            }
            pages += 1;
            // The second document again, with the token that it was asked for, is refused.
            assert!(pages <= 3, "it does not end");
        }
    });
});
