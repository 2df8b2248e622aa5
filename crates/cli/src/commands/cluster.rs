//! `pando cluster`: forming the cluster, its members, status, verification.

mod members;
mod status;
mod verify;

use clap::{Args, Subcommand};
use pando_model::NodeId;
use serde_json::json;

use crate::context::Context;
use crate::parse;

pub(crate) use members::{caught_up, promote};
pub(crate) use verify::{check, text as verify_text, to_json as verify_json};

/// Subcommands of `pando cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make the node named by --node a cluster, and nodes that wait its further voters
    Init(InitArgs),
    /// How every member is
    Status,
    /// Add a node that belongs to no cluster, as a learner: it catches up, but does not vote
    Add {
        /// Its public API (or node API) as the members reach it, host:port
        #[arg(value_parser = parse::host_port)]
        address: String,
    },
    /// Make a learner a voter
    Promote {
        /// The learner
        id: NodeId,
    },
    /// Make a voter a learner
    Demote {
        /// The voter
        id: NodeId,
    },
    /// Remove a member for good; its id is never used again
    ///
    /// A majority of the voters that remain must be reachable. It is refused when too few of them are up to date.
    Remove {
        /// The member
        id: NodeId,
        /// Skip the check that enough of the remaining voters are up to date; a majority of them must be reachable
        /// in any case
        #[arg(long)]
        force: bool,
    },
    /// Hand leadership to another voter
    TransferLeader {
        /// The voter; without it, the one that is least behind
        id: Option<NodeId>,
    },
    /// Compare the roots of all members at one log index; exit code 1 if they are not equal
    Verify,
    /// Make the node named by --node freeze a snapshot
    Snapshot {
        /// Also drop its log up to there: who is further behind catches up by delta
        #[arg(long)]
        purge: bool,
    },
}

/// Arguments of `pando cluster init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Public API of a further node as the first one reaches it, host:port; repeat it for more
    #[arg(long = "join", value_name = "ADDR", value_parser = parse::host_port)]
    join: Vec<String>,
}

pub(crate) async fn run(context: &Context, command: ClusterCommand) -> anyhow::Result<()> {
    let format = context.format;
    match command {
        ClusterCommand::Init(args) => members::init(context, &args.join).await?,
        ClusterCommand::Status => status::run(context).await?,
        ClusterCommand::Verify => verify::run(context).await?,
        ClusterCommand::TransferLeader { id } => members::transfer(context, id).await?,
        ClusterCommand::Add { address } => {
            let added = context.client()?.add_node(&address).await?;
            let json = || json!({ "id": added.node, "api": added.api_address, "node": added.node_address });
            let text = || {
                let (id, api) = (added.node, &added.api_address);
                format!(
                    "node {id} at {api} is a learner; make it a voter with `cluster promote {id}`"
                )
            };
            format.show(json, text)?;
        }
        ClusterCommand::Promote { id } => {
            context.client()?.promote_node(id).await?;
            format.show(
                || json!({ "id": id, "voter": true }),
                || format!("node {id} is a voter"),
            )?;
        }
        ClusterCommand::Demote { id } => {
            context.client()?.demote_node(id).await?;
            format.show(
                || json!({ "id": id, "voter": false }),
                || format!("node {id} is a learner"),
            )?;
        }
        ClusterCommand::Remove { id, force } => {
            context.client()?.remove_node(id, force).await?;
            format.show(|| json!({ "removed": id }), || format!("removed node {id}"))?;
        }
        ClusterCommand::Snapshot { purge } => {
            let snapshot = context.client()?.snapshot(purge).await?;
            let json = || {
                json!({
                    "id": snapshot.node,
                    "log_index": snapshot.log_index,
                    "purged_index": snapshot.purged_index,
                })
            };
            let text = || {
                let (node, index) = (snapshot.node, snapshot.log_index);
                let purged = match snapshot.purged_index {
                    0 => "its log is whole".to_owned(),
                    purged => format!("its log is gone up to {purged}"),
                };
                format!("node {node} froze a snapshot at log index {index}; {purged}")
            };
            format.show(json, text)?;
        }
    }
    Ok(())
}
