//! `pando export`: all points of a collection as JSON lines, in id order.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::TryStreamExt as _;
use pando_model::{CollectionName, Consistency, Filter, ScrollQuery, StoredPoint, WithVectors};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::context::Context;
use crate::exit::BadInput;
use crate::output::plural;
use crate::point_json::PointJson;
use crate::{filter_text, parse, progress};

/// Arguments of `pando export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    /// The file, .jsonl or .jsonl.gz; it appears when it is complete, and replaces one of the same name
    #[arg(long, value_name = "FILE", value_parser = out_file)]
    out: PathBuf,

    /// Only points that pass: 'pos = verb and year >= 1990', or the JSON form
    #[arg(long, value_name = "FILTER", value_parser = filter_text::parse)]
    filter: Option<Filter>,

    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,
}

/// Points per page; the server makes pages smaller where the points are large.
const PAGE: usize = 1_000;

fn out_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if text.ends_with(".jsonl") || text.ends_with(".jsonl.gz") {
        Ok(path)
    } else {
        Err("the file must end in .jsonl or .jsonl.gz".to_owned())
    }
}

pub(crate) async fn run(context: &Context, args: ExportArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let info = client
        .describe_collection(&args.collection, args.consistency)
        .await?;
    let query = ScrollQuery {
        filter: args.filter.clone(),
        from: None,
        limit: PAGE,
        with_payload: true,
        with_vectors: WithVectors::All,
    };
    let bar = progress::bar("exporting", args.filter.is_none().then_some(info.points));
    let mut file = Output::create(&args.out)?;
    let mut points = std::pin::pin!(client.scroll_all(&args.collection, query, args.consistency));
    let mut count = 0;
    while let Some(point) = points.try_next().await? {
        file.write(&point)
            .with_context(|| args.out.display().to_string())?;
        count += 1;
        bar.set_position(count);
    }
    bar.finish_and_clear();
    file.finish(&args.out)?;
    let text = || format!("{} in {}", plural(count, "point"), args.out.display());
    context
        .format
        .show(|| json!({ "points": count, "file": args.out }), text)?;
    Ok(())
}

/// A file beside its final place, moved there when it is complete.
struct Output {
    lines: Lines,
}

enum Lines {
    Plain(BufWriter<NamedTempFile>),
    Gz(Box<GzEncoder<BufWriter<NamedTempFile>>>),
}

impl Output {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if path.is_dir() {
            return Err(BadInput(format!("{} is a directory", path.display())).into());
        }
        let file = tempfile::Builder::new()
            .prefix(".pando-export-")
            .permissions(export_permissions())
            .tempfile_in(directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?;
        let file = BufWriter::with_capacity(1 << 16, file);
        let gz = path.extension().is_some_and(|e| e == "gz");
        let lines = if gz {
            Lines::Gz(Box::new(GzEncoder::new(file, Compression::default())))
        } else {
            Lines::Plain(file)
        };
        Ok(Self { lines })
    }

    fn write(&mut self, point: &StoredPoint) -> io::Result<()> {
        let json = PointJson::with_version(point);
        match &mut self.lines {
            Lines::Plain(to) => writeln!(to, "{json}"),
            Lines::Gz(to) => writeln!(to, "{json}"),
        }
    }

    fn finish(self, path: &Path) -> anyhow::Result<()> {
        let finished = || -> io::Result<File> {
            let file = match self.lines {
                Lines::Plain(file) => file,
                Lines::Gz(encoder) => encoder.finish()?,
            };
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            // On disk before it takes the place of an older one.
            file.as_file().sync_all()?;
            Ok(file.persist(path)?)
        };
        finished().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

/// Like a file the user creates: the umask applies.
#[cfg(unix)]
fn export_permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    use pando_model::{Payload, PointId, Stamp};

    use super::*;
    use crate::readers::{self, Defaults};

    #[test]
    fn an_export_can_be_imported_and_appears_only_when_it_is_complete() {
        for name in ["points.jsonl", "points.jsonl.gz"] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join(name);
            let point = StoredPoint {
                id: PointId::Num(7),
                version: Stamp::at(1),
                payload: Some(Payload::default()),
                vectors: [(pando_model::VectorName::default(), vec![0.5, 1.5])].into(),
                sparse_vectors: [].into(),
            };
            let mut output = Output::create(&path).expect("created");
            output.write(&point).expect("written");
            assert!(!path.exists());
            output.finish(&path).expect("finished");

            let points = readers::points(&path, None, Defaults::default()).expect("opened");
            let read: Vec<_> = points.collect::<Result<_, _>>().expect("read");
            assert_eq!(
                read,
                [pando_model::Point::new(
                    7,
                    vec![0.5, 1.5],
                    Payload::default()
                )]
            );
        }
    }

    #[test]
    fn only_json_lines_are_written() {
        assert!(out_file("a.jsonl.gz").is_ok());
        assert!(out_file("a.csv").is_err());
    }
}
