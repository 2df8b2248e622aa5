//! `pando health`: for container health checks and scripts.

use clap::Args;

use crate::context::Context;
use crate::exit::No;
use crate::{http, parse};

/// Arguments of `pando health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// HTTP address of the node, host:port
    #[arg(long, env = "PANDO_HTTP", value_name = "ADDR", default_value = "127.0.0.1:7702",
          value_parser = parse::host_port)]
    http: String,

    /// Whether it is ready to serve, not only alive
    #[arg(long)]
    ready: bool,
}

pub(crate) async fn run(context: &Context, args: &HealthArgs) -> anyhow::Result<()> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let (status, body) = http::get(&args.http, path, context.timeout).await?;
    let healthy = status.is_success();
    if !healthy {
        return Err(No(format!("{}: {status}: {}", args.http, body.trim())).into());
    }
    let word = if args.ready { "ready" } else { "alive" };
    let json = || serde_json::json!({ "address": args.http, word: true });
    context
        .format
        .show(json, || format!("{} is {word}", args.http))?;
    Ok(())
}
