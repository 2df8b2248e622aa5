//! Dotted paths into payloads.

use crate::error::InvalidInput;

/// Refuses paths with empty steps.
pub(crate) fn check_path(field: &str, path: &str) -> Result<(), InvalidInput> {
    if path.is_empty() || path.split('.').any(str::is_empty) {
        return Err(InvalidInput::BadField {
            field: field.into(),
            reason: format!("{path:?} must be a dotted path without empty steps, such as a or a.b"),
        });
    }
    Ok(())
}
