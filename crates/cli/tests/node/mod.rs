//! One node as a child process, and the command line asked about it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The program, without settings of the environment.
pub(crate) fn pando() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pando"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("PANDO_") {
            command.env_remove(key);
        }
    }
    command
}

/// A node that is killed when nobody holds it any more.
pub(crate) struct Node {
    child: Child,
    pub(crate) api: String,
    pub(crate) http: String,
}

impl Node {
    /// Starts one on free ports, with these settings.
    pub(crate) fn start(data: &Path, settings: &[&str]) -> Self {
        let mut child = pando()
            .args(["serve", "--output", "json", "--log-level", "off"])
            .args(settings)
            .args([
                "--api-listen",
                "127.0.0.1:0",
                "--node-listen",
                "127.0.0.1:0",
            ])
            .args(["--http-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the node starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its ready line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let text = |key: &str| ready[key].as_str().expect("an address").to_owned();
        Self {
            api: text("api"),
            http: text("http"),
            child,
        }
    }

    /// Runs a command against this node; returns its exit code and what it printed.
    pub(crate) fn ask(&self, args: &[&str]) -> (i32, String) {
        let output = pando()
            .args(args)
            .args(["--node", &self.api])
            .output()
            .expect("it runs");
        let code = output.status.code().expect("it ends by itself");
        (code, String::from_utf8(output.stdout).expect("text"))
    }

    /// Runs a command that must succeed; returns what it says.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let (code, text) = self.ask(&[args, &["--output", "json"]].concat());
        assert_eq!(code, 0, "{args:?}");
        serde_json::from_str(&text).expect("one JSON document")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}
