//! One GET from a node's HTTP port, and the figures of its `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exit::Late;

/// Largest answer that is read.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Fetches `path` from `address` (host:port).
pub(crate) async fn get(
    address: &str,
    path: &str,
    limit: Duration,
) -> anyhow::Result<(StatusCode, String)> {
    let answer = timeout(limit, fetch(address, path)).await;
    let unreachable = |reason: String| Late(format!("http://{address}{path}: {reason}"));
    match answer {
        Ok(answer) => answer.map_err(|e| unreachable(format!("{e:#}")).into()),
        Err(_) => Err(unreachable(format!("no answer within {limit:?}")).into()),
    }
}

async fn fetch(address: &str, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(HOST, address)
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|e| anyhow::anyhow!(e))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    // The connection is driven here, so that nothing outlives the call.
    tokio::pin!(connection, exchange);
    loop {
        tokio::select! {
            answer = &mut exchange => return answer,
            end = &mut connection => end.context("the connection broke")?,
        }
    }
}

/// What `/metrics` says, by name and labels as they are written there.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Reads them off a node.
    pub(crate) async fn of(address: &str, limit: Duration) -> anyhow::Result<Self> {
        let (status, text) = get(address, "/metrics", limit).await?;
        anyhow::ensure!(
            status == StatusCode::OK,
            "http://{address}/metrics: {status}: {text}"
        );
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let figures = samples.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(figures.collect())
    }

    /// A figure, by its full name with labels.
    pub(crate) fn value(&self, name: &str) -> anyhow::Result<f64> {
        let value = self.0.get(name).copied();
        value.with_context(|| format!("the node has no metric {name}"))
    }

    /// The value of a label, over all figures of this name.
    pub(crate) fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let of_name = self.0.iter().filter_map(|(key, value)| {
            let labels = key.strip_prefix(name)?.strip_prefix('{')?;
            let (_, rest) = labels.split_once(&format!("{label}=\""))?;
            let (text, _) = rest.split_once('"')?;
            Some((text.to_owned(), *value))
        });
        of_name.collect()
    }

    /// A count, by its full name with labels.
    pub(crate) fn count(&self, name: &str) -> anyhow::Result<u64> {
        let value = self.value(name)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are whole, not negative, and far below 2^53"
        )]
        let count = value as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn metrics_are_found_by_name_and_labels() {
        let text =
            "# TYPE pando_x counter\npando_x_total{direction=\"sent\"} 17\npando_points 3\n# EOF\n";
        let figures = Figures::parse(text);
        assert_eq!(
            figures
                .count("pando_x_total{direction=\"sent\"}")
                .expect("there"),
            17
        );
        assert_eq!(figures.count("pando_points").expect("there"), 3);
        assert!(figures.count("pando_y").is_err());
        let by_label = figures.by_label("pando_x_total", "direction");
        assert_eq!(by_label, [("sent".to_owned(), 17.0)].into());
        assert!(figures.by_label("pando_x", "direction").is_empty());
    }

    #[tokio::test]
    async fn answers_are_read_and_closed_ports_are_unavailable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.expect("a request");
            assert!(head.starts_with(b"GET /healthz HTT"), "{head:?}");
            let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nwhy\n";
            stream.write_all(answer).await.expect("written");
            // Held open: the length ends the answer, not the connection.
            stream
        };
        let (answer, _stream) = tokio::join!(get(&address, "/healthz", LIMIT), server);
        let (status, body) = answer.expect("an answer");
        assert_eq!((status.as_u16(), body.as_str()), (503, "why\n"));

        drop(listener);
        let error = get(&address, "/healthz", LIMIT).await.expect_err("closed");
        assert_eq!(
            crate::exit::Exit::of(&error),
            crate::exit::Exit::Unavailable
        );
    }
}
