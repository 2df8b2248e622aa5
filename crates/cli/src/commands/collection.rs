//! `pando collection`: create, list, info, update, drop, alias.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use pando_model::{
    CollectionInfo, CollectionName, CollectionSchema, Consistency, Metric, Quantization,
    VectorName, VectorParams,
};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::BadInput;
use crate::output::{self, hex, short};
use crate::parse::{self, NamedVector};

/// Subcommands of `pando collection`.
#[derive(Debug, Subcommand)]
pub(crate) enum CollectionCommand {
    /// Create an empty collection
    Create(CreateArgs),
    /// All collections
    List(ReadArgs),
    /// One collection, by name or alias
    Info {
        /// Collection or alias
        #[arg(value_parser = CollectionName::parse)]
        name: CollectionName,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Change how a vector is kept in memory; nodes index anew in the background and answer searches meanwhile
    Update(UpdateArgs),
    /// Drop a collection, its points and its aliases
    Drop {
        /// The collection
        #[arg(value_parser = CollectionName::parse)]
        name: CollectionName,
    },
    /// Other names for collections
    #[command(subcommand)]
    Alias(AliasCommand),
}

/// Arguments of `pando collection create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name: letters, digits, '_', '-', '.'
    #[arg(value_parser = CollectionName::parse)]
    name: CollectionName,

    /// Dimension of the default vector
    #[arg(long, value_name = "N", required_unless_present_any = ["vectors", "sparse"])]
    dim: Option<u32>,

    /// How vectors are compared: cosine, dot, euclidean, manhattan or poincare (norms below 1)
    #[arg(long, default_value = "cosine", requires = "dim")]
    metric: Metric,

    /// How the default vector is kept in memory once there is a graph: f16, int8, which takes about half as much, or
    /// binary, which takes a quarter and reads what it scores from storage. Hits are scored from the vectors themselves
    /// in any case
    #[arg(long, value_name = "FORM", default_value = "f16", requires = "dim")]
    quantization: Quantization,

    /// A vector with a name, e.g. title:384:cosine or title:384:cosine:int8; repeat it for more
    #[arg(long = "vector", value_name = "NAME:DIM:METRIC[:FORM]")]
    vectors: Vec<NamedVector>,

    /// A sparse vector with this name, compared by dot product; repeat it for more
    #[arg(long, value_name = "NAME", value_parser = VectorName::parse)]
    sparse: Vec<VectorName>,
}

/// Arguments of `pando collection update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    name: CollectionName,

    /// How the vector is to be kept in memory: f16, int8 or binary
    #[arg(long, value_name = "FORM")]
    quantization: Quantization,

    /// Which vector; the default one if not given. Repeat it for more
    #[arg(long = "vector", value_name = "NAME", value_parser = VectorName::parse)]
    vectors: Vec<VectorName>,
}

/// How a read is made.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,
}

/// Subcommands of `pando collection alias`.
#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// Point an alias at a collection, moving it if it exists
    Set {
        /// The alias
        #[arg(value_parser = CollectionName::parse)]
        alias: CollectionName,
        /// The collection
        #[arg(value_parser = CollectionName::parse)]
        collection: CollectionName,
    },
    /// Drop an alias; the collection stays
    Drop {
        /// The alias
        #[arg(value_parser = CollectionName::parse)]
        alias: CollectionName,
    },
    /// All aliases
    List(ReadArgs),
}

pub(crate) async fn run(context: &Context, command: CollectionCommand) -> anyhow::Result<()> {
    let client = context.client()?;
    let format = context.format;
    match command {
        CollectionCommand::Create(args) => {
            let name = args.name.clone();
            let created = client.create_collection(&name, schema(args)?).await?;
            let json = || json!({ "name": name, "log_index": created.log_index });
            format.show(json, || format!("created {name}"))?;
        }
        CollectionCommand::List(read) => {
            let all = client.list_collections(read.consistency).await?;
            let json = || json!({ "collections": all.iter().map(info_json).collect::<Vec<_>>() });
            format.show(json, || list(&all))?;
        }
        CollectionCommand::Info { name, read } => {
            let info = client.describe_collection(&name, read.consistency).await?;
            format.show(|| info_json(&info), || describe(&info))?;
        }
        CollectionCommand::Update(args) => update(context, args).await?,
        CollectionCommand::Drop { name } => {
            let written = client.drop_collection(&name).await?;
            let json = || json!({ "name": name, "log_index": written.log_index });
            format.show(json, || format!("dropped {name}"))?;
        }
        CollectionCommand::Alias(command) => alias(context, command).await?,
    }
    Ok(())
}

async fn update(context: &Context, args: UpdateArgs) -> anyhow::Result<()> {
    let UpdateArgs {
        name,
        quantization,
        mut vectors,
    } = args;
    if vectors.is_empty() {
        vectors.push(VectorName::default());
    }
    let vectors: BTreeMap<_, _> = (vectors.into_iter())
        .map(|vector| (vector, quantization))
        .collect();
    let written = context.client()?.quantize(&name, &vectors).await?;
    let json = || json!({ "name": name, "log_index": written.log_index });
    let text = || format!("{name} is kept as {quantization} from now on; see pando cluster status");
    context.format.show(json, text)?;
    Ok(())
}

async fn alias(context: &Context, command: AliasCommand) -> anyhow::Result<()> {
    let client = context.client()?;
    let format = context.format;
    match command {
        AliasCommand::Set { alias, collection } => {
            let written = client.set_alias(&alias, &collection).await?;
            let json = || json!({ "alias": alias, "collection": collection, "log_index": written.log_index });
            format.show(json, || format!("{alias} stands for {collection}"))?;
        }
        AliasCommand::Drop { alias } => {
            let written = client.drop_alias(&alias).await?;
            let json = || json!({ "alias": alias, "log_index": written.log_index });
            format.show(json, || format!("dropped alias {alias}"))?;
        }
        AliasCommand::List(read) => {
            let all = client.list_aliases(read.consistency).await?;
            let entry = |(alias, collection): &(CollectionName, CollectionName)| json!({ "alias": alias, "collection": collection });
            let json = || json!({ "aliases": all.iter().map(entry).collect::<Vec<_>>() });
            let text = || {
                let mut table = output::table(["alias", "collection"]);
                for (alias, collection) in &all {
                    table.add_row([alias.as_str(), collection.as_str()]);
                }
                table
            };
            format.show(json, text)?;
        }
    }
    Ok(())
}

fn schema(args: CreateArgs) -> anyhow::Result<CollectionSchema> {
    let mut vectors = BTreeMap::new();
    if let Some(dimension) = args.dim {
        vectors.insert(
            VectorName::default(),
            VectorParams {
                dimension,
                metric: args.metric,
                quantization: args.quantization,
            },
        );
    }
    for NamedVector { name, params } in args.vectors {
        if vectors.insert(name.clone(), params).is_some() {
            return Err(BadInput(format!("vector {name} is given twice")).into());
        }
    }
    let mut sparse_vectors = BTreeSet::new();
    for name in args.sparse {
        if !sparse_vectors.insert(name.clone()) {
            return Err(BadInput(format!("vector {name} is given twice")).into());
        }
    }
    let schema = CollectionSchema {
        vectors,
        sparse_vectors,
    };
    schema.validate()?;
    Ok(schema)
}

fn info_json(info: &CollectionInfo) -> Value {
    let vector = |(name, params): (&VectorName, &VectorParams)| {
        let shape = json!({
            "dimension": params.dimension,
            "metric": params.metric.name(),
            "quantization": params.quantization.name(),
        });
        (name.as_str().to_owned(), shape)
    };
    json!({
        "name": info.definition.name,
        "count": info.points,
        "bytes": info.bytes,
        "root": hex(&info.root),
        "aliases": info.aliases,
        "vectors": info.definition.schema.vectors.iter().map(vector).collect::<serde_json::Map<_, _>>(),
        "sparse_vectors": info.definition.schema.sparse_vectors,
        "created_ms": info.definition.created.wall_ms,
    })
}

fn vectors_text(info: &CollectionInfo) -> String {
    let vectors = info.definition.schema.vectors.iter();
    let text = vectors.map(|(name, params)| {
        let shape = format!("{} {}", params.dimension, params.metric);
        let shape = match params.quantization {
            Quantization::F16 => shape,
            other => format!("{shape} {other}"),
        };
        match name.as_str() {
            "" => shape,
            name => format!("{name}: {shape}"),
        }
    });
    let sparse = info.definition.schema.sparse_vectors.iter();
    let sparse = sparse.map(|name| match name.as_str() {
        "" => "sparse".to_owned(),
        name => format!("{name}: sparse"),
    });
    text.chain(sparse).collect::<Vec<_>>().join("\n")
}

fn names(aliases: &[CollectionName]) -> String {
    aliases
        .iter()
        .map(CollectionName::as_str)
        .collect::<Vec<_>>()
        .join("\n")
}

fn list(all: &[CollectionInfo]) -> String {
    if all.is_empty() {
        return "no collections".to_owned();
    }
    let mut table = output::table(["name", "vectors", "points", "size", "root", "aliases"]);
    for info in all {
        table.add_row([
            info.definition.name.to_string(),
            vectors_text(info),
            info.points.to_string(),
            output::bytes(info.bytes),
            short(&info.root),
            names(&info.aliases),
        ]);
    }
    table.to_string()
}

fn describe(info: &CollectionInfo) -> String {
    let mut table = output::table(["", info.definition.name.as_str()]);
    for (what, value) in [
        ("points", info.points.to_string()),
        ("size", output::bytes(info.bytes)),
        ("vectors", vectors_text(info)),
        ("aliases", names(&info.aliases)),
        ("root", hex(&info.root)),
    ] {
        table.add_row([what, &value]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Create {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn parsed(args: &[&str]) -> anyhow::Result<CollectionSchema> {
        let words = ["create", "words"].iter().chain(args);
        schema(Create::try_parse_from(words)?.args)
    }

    #[test]
    fn schemas_come_from_flags() {
        let one = parsed(&["--dim", "384"]).expect("fine");
        assert_eq!(one, CollectionSchema::single(384, Metric::Cosine));
        let two = parsed(&[
            "--dim",
            "4",
            "--metric",
            "dot",
            "--vector",
            "title:8:euclidean",
        ]);
        let two = two.expect("fine");
        assert_eq!(two.vectors.len(), 2);
        let title = VectorName::parse("title").expect("a name");
        assert_eq!(two.vectors[&title].metric, Metric::Euclidean);
    }

    #[test]
    fn quantization_comes_from_flags_too() {
        let args = [
            "--dim",
            "4",
            "--quantization",
            "int8",
            "--vector",
            "title:8:dot:int8",
            "--vector",
            "body:8:dot",
        ];
        let schema = parsed(&args).expect("fine");
        let is = |name| schema.vectors[&VectorName::parse(name).expect("a name")].quantization;
        assert_eq!(is(""), Quantization::Int8);
        assert_eq!(is("title"), Quantization::Int8);
        assert_eq!(is("body"), Quantization::F16);
    }

    #[test]
    fn sparse_vectors_need_a_name_and_nothing_else() {
        let name = |name| VectorName::parse(name).expect("a name");
        let mixed = parsed(&["--dim", "4", "--sparse", "terms", "--sparse", "tags"]);
        let mixed = mixed.expect("fine");
        assert_eq!(mixed.vectors.len(), 1);
        assert_eq!(mixed.sparse_vectors, ["tags", "terms"].map(name).into());
        let alone = parsed(&["--sparse", "terms"]).expect("fine");
        assert!(alone.vectors.is_empty());
    }

    #[test]
    fn schemas_that_cannot_be_are_refused() {
        for bad in [
            &[][..],
            &["--dim", "0"],
            &["--dim", "20000"],
            &["--dim", "4", "--metric", "angular"],
            &["--dim", "4", "--quantization", "int4"],
            &[
                "--dim",
                "4",
                "--metric",
                "manhattan",
                "--quantization",
                "int8",
            ],
            &["--quantization", "int8", "--vector", "a:4:dot"],
            &["--vector", "a:4:dot:int4"],
            &["--vector", "a:4:dot", "--vector", "a:5:dot"],
            &["--vector", "a:4:dot", "--sparse", "a"],
            &["--sparse", "a", "--sparse", "a"],
            &["--sparse", "a b"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
