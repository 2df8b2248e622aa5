//! What is wrong with a message that was received: which field, and why.

use pando_model::InvalidInput;
use thiserror::Error;

/// A message that does not mean anything. The field is a path: `points[3].id`.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DecodeError {
    /// A field that must be set is not.
    #[error("{field} is missing")]
    Missing {
        /// Path of the field.
        field: String,
    },
    /// A field has a value that means nothing.
    #[error("{field}: {reason}")]
    Malformed {
        /// Path of the field.
        field: String,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// A field has a value the model refuses.
    #[error("{field}: {source}")]
    Refused {
        /// Path of the field.
        field: String,
        /// What the model says.
        source: InvalidInput,
    },
}

impl DecodeError {
    /// The field is missing.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::Missing {
            field: field.into(),
        }
    }

    /// The field's value means nothing.
    pub fn malformed(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// For `map_err`: the model refuses the field's value.
    pub(crate) fn refused(field: &str) -> impl FnOnce(InvalidInput) -> Self {
        move |source| Self::Refused {
            field: field.to_owned(),
            source,
        }
    }

    /// For `map_err`: the error is about a field of this field.
    pub fn within(outer: impl Into<String>) -> impl FnOnce(Self) -> Self {
        let outer = outer.into();
        move |mut error| {
            let (Self::Missing { field }
            | Self::Malformed { field, .. }
            | Self::Refused { field, .. }) = &mut error;
            *field = format!("{outer}.{field}");
            error
        }
    }

    /// Path of the field.
    #[must_use]
    pub fn field(&self) -> &str {
        let (Self::Missing { field } | Self::Malformed { field, .. } | Self::Refused { field, .. }) =
            self;
        field
    }
}

impl From<DecodeError> for InvalidInput {
    /// As the model's own error; what the model refused stays what it was.
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Missing { field } => Self::BadField {
                field,
                reason: "it is missing".to_owned(),
            },
            DecodeError::Malformed { field, reason } => Self::BadField { field, reason },
            DecodeError::Refused { source, .. } => source,
        }
    }
}
