//! Starts a node and makes what requests are made of.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pando_proto::v1::{self, ErrorDetail, ErrorKind};
use pando_proto::v1::{
    cluster_client::ClusterClient, collections_client::CollectionsClient,
    points_client::PointsClient, search_client::SearchClient,
};
use pando_proto::{GRPC_MESSAGE_BYTES_MAX, detail};
use pando_server::{Config, Ready, run};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// A node and clients of its four services.
pub(crate) struct TestNode {
    pub(crate) ready: Ready,
    pub(crate) collections: CollectionsClient<Channel>,
    pub(crate) points: PointsClient<Channel>,
    pub(crate) search: SearchClient<Channel>,
    pub(crate) cluster: ClusterClient<Channel>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Free ports, quick elections.
pub(crate) fn config(data_dir: &Path) -> Config {
    let any = "127.0.0.1:0".parse().expect("an address");
    Config {
        data_dir: data_dir.to_owned(),
        api_listen: any,
        node_listen: any,
        http_listen: any,
        raft_heartbeat_ms: 50,
        raft_election_ms: 200,
        storage_cache_mib: 8,
        ..Config::default()
    }
}

/// Starts a node; an error is that of its start.
pub(crate) async fn start(config: Config) -> anyhow::Result<TestNode> {
    let (stop, stopped) = oneshot::channel();
    let (tell, told) = oneshot::channel();
    let mut task = tokio::spawn(run(
        config,
        async {
            stopped.await.ok();
        },
        move |ready: &Ready| tell.send(ready.clone()).expect("the test waits"),
    ));
    let ready = tokio::select! {
        Ok(ready) = told => ready,
        ended = &mut task => match ended? {
            Ok(()) => anyhow::bail!("it ended before it was ready"),
            Err(error) => return Err(error),
        },
    };
    let channel = Channel::from_shared(format!("http://{}", ready.api))?
        .connect()
        .await?;
    let max = GRPC_MESSAGE_BYTES_MAX;
    Ok(TestNode {
        collections: CollectionsClient::new(channel.clone()),
        // Larger than the server takes, to see it refuse.
        points: PointsClient::new(channel.clone())
            .max_decoding_message_size(max)
            .max_encoding_message_size(4 * max),
        search: SearchClient::new(channel.clone()).max_decoding_message_size(max),
        cluster: ClusterClient::new(channel),
        ready,
        stop,
        task,
    })
}

/// A node on a new directory.
pub(crate) async fn fresh() -> (TestNode, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(config(dir.path())).await.expect("started");
    (node, dir)
}

/// A node with a cosine collection `words` of dimension 2, and where it was created.
pub(crate) async fn with_words() -> (TestNode, tempfile::TempDir) {
    let (mut node, dir) = fresh().await;
    node.create("words", 2, v1::Metric::Cosine)
        .await
        .expect("created");
    (node, dir)
}

impl TestNode {
    /// Stops the node in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.send(()).ok();
        self.task.await?
    }

    pub(crate) async fn create(
        &mut self,
        name: &str,
        dimension: u32,
        metric: v1::Metric,
    ) -> Result<v1::CreateCollectionResponse, Status> {
        let request = v1::CreateCollectionRequest {
            name: name.into(),
            schema: Some(schema(dimension, metric)),
            request_id: String::new(),
        };
        Ok(self.collections.create(request).await?.into_inner())
    }

    pub(crate) async fn upsert(
        &mut self,
        collection: &str,
        points: Vec<v1::Point>,
    ) -> Result<v1::WriteResponse, Status> {
        let request = v1::UpsertRequest {
            collection: collection.into(),
            points,
            request_id: String::new(),
        };
        Ok(self.points.upsert(request).await?.into_inner())
    }

    pub(crate) async fn count(&mut self, collection: &str) -> u64 {
        let request = v1::CountRequest {
            collection: collection.into(),
            filter: None,
            consistency: None,
        };
        self.points
            .count(request)
            .await
            .expect("counted")
            .into_inner()
            .count
    }

    /// The last index applied: what nothing that is refused may move.
    pub(crate) async fn applied(&mut self) -> u64 {
        self.status().await.applied_index
    }

    pub(crate) async fn status(&mut self) -> v1::NodeStatus {
        let request = v1::StatusRequest {
            only_this_node: true,
        };
        let answer = self
            .cluster
            .status(request)
            .await
            .expect("a status")
            .into_inner();
        let own = answer.nodes.into_iter().next().and_then(|n| n.result);
        let Some(v1::node_report::Result::Status(status)) = own else {
            unreachable!("a node gives its own status, not {own:?}");
        };
        status
    }
}

pub(crate) fn schema(dimension: u32, metric: v1::Metric) -> v1::CollectionSchema {
    let params = v1::VectorParams {
        dimension,
        metric: metric.into(),
        quantization: v1::Quantization::F16.into(),
    };
    v1::CollectionSchema {
        vectors: BTreeMap::from([(String::new(), params)]),
        ..v1::CollectionSchema::default()
    }
}

pub(crate) fn vector(values: &[f32]) -> v1::Vector {
    let dense = v1::DenseVector {
        values: values.to_vec(),
    };
    v1::Vector {
        data: Some(v1::vector::Data::Dense(dense)),
    }
}

pub(crate) fn id(n: u64) -> v1::PointId {
    v1::PointId {
        id: Some(v1::point_id::Id::Num(n)),
    }
}

pub(crate) fn text(value: &str) -> v1::Value {
    v1::Value {
        kind: Some(v1::value::Kind::StringValue(value.into())),
    }
}

pub(crate) fn payload(fields: &[(&str, &str)]) -> v1::Struct {
    let fields = fields
        .iter()
        .map(|(key, value)| ((*key).to_owned(), text(value)));
    v1::Struct {
        fields: fields.collect(),
    }
}

pub(crate) fn point(n: u64, values: &[f32], fields: &[(&str, &str)]) -> v1::Point {
    v1::Point {
        id: Some(id(n)),
        vectors: BTreeMap::from([(String::new(), vector(values))]),
        payload: Some(payload(fields)),
    }
}

/// The filter `key = value`.
pub(crate) fn matching(key: &str, value: &str) -> v1::Filter {
    let condition = v1::Match {
        key: key.into(),
        value: Some(text(value)),
    };
    let condition = v1::Condition {
        condition: Some(v1::condition::Condition::Match(condition)),
    };
    v1::Filter {
        must: vec![condition],
        ..v1::Filter::default()
    }
}

pub(crate) fn by_ids(ids: &[u64]) -> Option<v1::Selector> {
    let ids = v1::PointIds {
        ids: ids.iter().map(|n| id(*n)).collect(),
    };
    Some(v1::Selector {
        selector: Some(v1::selector::Selector::Ids(ids)),
    })
}

pub(crate) fn by_filter(filter: v1::Filter) -> Option<v1::Selector> {
    let filter = v1::FilterSelector {
        filter: Some(filter),
        from: None,
    };
    Some(v1::Selector {
        selector: Some(v1::selector::Selector::Filter(filter)),
    })
}

pub(crate) fn linearizable() -> Option<v1::Consistency> {
    let level = v1::consistency::Level::Linearizable(v1::consistency::Linearizable {});
    Some(v1::Consistency { level: Some(level) })
}

pub(crate) fn at_least(index: u64) -> Option<v1::Consistency> {
    Some(v1::Consistency {
        level: Some(v1::consistency::Level::AtLeast(index)),
    })
}

/// The typed detail of a failed call.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> ErrorDetail {
    let status = answer.expect_err("it should have been refused");
    let detail = detail::from_status(&status);
    assert!(detail.is_some(), "no detail: {status:?}");
    detail.expect("asserted above")
}

/// Asserts that input was refused, with its limit and value if there are any, and in words that say why.
pub(crate) fn assert_invalid(detail: &ErrorDetail, numbers: Option<(usize, usize)>, says: &str) {
    assert_eq!(detail.kind(), ErrorKind::InvalidInput, "{detail:?}");
    let found = detail.limit.zip(detail.actual);
    assert_eq!(
        found,
        numbers.map(|(limit, actual)| (limit as u64, actual as u64)),
        "{detail:?}"
    );
    assert!(detail.message.contains(says), "{detail:?}");
    assert!(!detail.outcome_unknown, "{detail:?}");
}

/// The kind of a failed call.
pub(crate) fn kind<T: std::fmt::Debug>(answer: Result<T, Status>) -> ErrorKind {
    refused(answer).kind()
}

pub(crate) fn inner<T>(answer: Result<Response<T>, Status>) -> T {
    answer.expect("answered").into_inner()
}

/// Asks again until it holds; the test runner bounds the whole.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let asked = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(60), asked).await;
    assert!(came.is_ok(), "it never came true: {what}");
}
