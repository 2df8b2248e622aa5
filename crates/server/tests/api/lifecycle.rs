use pando_server::Config;

use crate::support::{config, point, start, with_words};

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let (mut node, dir) = with_words().await;
    node.upsert("words", vec![point(1, &[1.0, 0.0], &[])])
        .await
        .expect("written");
    let before = node.ready.clone();
    let root = node.status().await.root;
    node.stop().await.expect("stopped");

    let mut node = start(config(dir.path())).await.expect("started again");
    assert_eq!(node.ready.node_id, before.node_id);
    assert_eq!(node.ready.cluster_id, before.cluster_id);
    assert_eq!(node.count("words").await, 1);
    assert_eq!(node.status().await.root, root);
    node.upsert("words", vec![point(2, &[0.0, 1.0], &[])])
        .await
        .expect("writes go on");
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_second_node_on_the_same_directory_is_refused() {
    let (node, dir) = with_words().await;
    let Err(error) = start(config(dir.path())).await else {
        panic!("two nodes, one directory")
    };
    let text = format!("{error:#}");
    assert!(text.contains("in use by another node"), "{text}");
    assert!(text.contains(&dir.path().display().to_string()), "{text}");
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn another_node_id_than_the_stored_one_is_refused() {
    let (node, dir) = with_words().await;
    let id = node.ready.node_id;
    node.stop().await.expect("stopped");
    let other = Config {
        node_id: Some(id % 1000 + 1),
        ..config(dir.path())
    };
    let Err(error) = start(other).await else {
        panic!("another node's directory")
    };
    assert!(error.to_string().contains(&id.to_string()), "{error:#}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config {
        http_listen: address,
        ..config(dir.path())
    };
    let Err(error) = start(config).await else {
        panic!("the port is taken")
    };
    let text = format!("{error:#}");
    assert!(
        text.contains("http_listen") && text.contains(&address.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn a_bad_configuration_starts_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("data");
    let bad = Config {
        raft_election_ms: 1,
        ..config(&data_dir)
    };
    let Err(error) = start(bad).await else {
        panic!("it cannot work")
    };
    assert!(error.to_string().contains("raft_election_ms"), "{error:#}");
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_damaged_store_is_not_served() {
    let (node, dir) = with_words().await;
    node.stop().await.expect("stopped");
    let conf = dir.path().join("data/conf");
    std::fs::write(&conf, b"not what the engine wrote").expect("damaged");
    let Err(error) = start(config(dir.path())).await else {
        panic!("a damaged store")
    };
    let text = format!("{error:#}");
    assert!(
        text.contains("damaged") && text.contains("rejoin"),
        "{text}"
    );
    assert!(
        text.contains(&dir.path().join("data").display().to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn a_member_that_lost_one_of_its_stores_is_not_served() {
    for store in ["log", "data"] {
        let (node, dir) = with_words().await;
        node.stop().await.expect("stopped");
        let path = dir.path().join(store);
        std::fs::remove_dir_all(&path).expect("lost");
        for _ in 0..2 {
            let Err(error) = start(config(dir.path())).await else {
                panic!("the {store} store is not the one it had")
            };
            let text = format!("{error:#}");
            assert!(text.contains("bootstrap = false"), "{text}");
            assert!(text.contains(&path.display().to_string()), "{text}");
        }
    }
}
