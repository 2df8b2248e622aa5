//! What a refusal through the SDK must look like.

use pando_client::{ClientError, ErrorKind};

/// What a refusal must look like.
pub(crate) struct Expected {
    pub(crate) kind: ErrorKind,
    pub(crate) says: &'static str,
    pub(crate) limit: Option<usize>,
}

pub(crate) fn invalid(says: &'static str) -> Expected {
    Expected {
        kind: ErrorKind::InvalidInput,
        says,
        limit: None,
    }
}

pub(crate) fn over(limit: usize, says: &'static str) -> Expected {
    Expected {
        kind: ErrorKind::InvalidInput,
        says,
        limit: Some(limit),
    }
}

pub(crate) fn catalogue(kind: ErrorKind, says: &'static str) -> Expected {
    Expected {
        kind,
        says,
        limit: None,
    }
}

pub(crate) fn check<T: std::fmt::Debug>(
    what: &str,
    result: Result<T, ClientError>,
    expected: &Expected,
) {
    let error = match result {
        Ok(done) => unreachable!("{what} was taken: {done:?}"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), expected.kind, "{what}: {error}");
    assert!(error.to_string().contains(expected.says), "{what}: {error}");
    assert!(
        !error.is_retryable(),
        "{what}: asking again cannot help: {error}"
    );
    assert!(error.has_no_side_effects(), "{what}: {error}");
    if let Some(limit) = expected.limit {
        assert_eq!(error.limit(), Some(limit as u64), "{what}: {error}");
        let actual = error
            .actual()
            .expect("what was given stands next to the limit");
        assert!(actual != limit as u64, "{what}: {error}");
    }
}
