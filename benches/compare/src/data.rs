//! The vectors, and what is nearest to each query.

use std::fs;

use anyhow::{Context as _, ensure};

pub(crate) struct Data {
    pub(crate) dimension: usize,
    pub(crate) base: Vec<Vec<f32>>,
    pub(crate) queries: Vec<Vec<f32>>,
    /// Rows of the base nearest to each query, `limit` of them.
    pub(crate) truth: Vec<Vec<u64>>,
    pub(crate) limit: usize,
}

fn rows<T: npyz::Deserialize + Copy>(file: &str) -> anyhow::Result<Vec<Vec<T>>> {
    let bytes = fs::read(file).with_context(|| file.to_owned())?;
    let npy = npyz::NpyFile::new(&bytes[..]).with_context(|| file.to_owned())?;
    let &[count, width] = npy.shape() else {
        anyhow::bail!(
            "{file} has {} dimensions; 2 are expected",
            npy.shape().len()
        );
    };
    let width = usize::try_from(width)?;
    let values: Vec<T> = npy.into_vec().with_context(|| file.to_owned())?;
    ensure!(width > 0 && count > 0, "{file} is empty");
    Ok(values.chunks_exact(width).map(<[T]>::to_vec).collect())
}

impl Data {
    pub(crate) fn read(
        base: &str,
        queries: &str,
        truth: &str,
        limit: usize,
    ) -> anyhow::Result<Self> {
        let (base, queries) = (rows::<f32>(base)?, rows::<f32>(queries)?);
        let truth = rows::<i32>(truth)?.into_iter().map(|row| {
            let row = row.into_iter().take(limit).map(u64::try_from);
            row.collect::<Result<Vec<_>, _>>()
        });
        let truth = truth.collect::<Result<Vec<_>, _>>()?;
        let dimension = base[0].len();
        ensure!(
            queries[0].len() == dimension && truth.len() == queries.len(),
            "base, queries and truth do not belong together"
        );
        Ok(Self {
            dimension,
            base,
            queries,
            truth,
            limit,
        })
    }
}
