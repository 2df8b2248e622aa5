//! The remembered reply to a request: what a retry is answered with.

use pando_merkle::value_digest;
use pando_model::{Command, InvalidInput, WriteResult};
use pando_storage::codec;

/// What was replied to a request, and to which command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    /// The log index of the entry that did it.
    pub(crate) index: u64,
    /// Tells a retry from another command under the same id.
    pub(crate) fingerprint: u64,
    pub(crate) result: WriteResult,
}

const COMMAND_TAG: u8 = 1;

impl Reply {
    pub(crate) fn new(index: u64, command: &Command, result: WriteResult) -> Self {
        Self {
            index,
            fingerprint: fingerprint(command),
            result,
        }
    }

    /// The answer to `command` under this request's id: the first reply if it is the same command, a refusal if the
    /// id was used for another one, which must not be taken for done.
    pub(crate) fn to(&self, command: &Command) -> WriteResult {
        if fingerprint(command) == self.fingerprint {
            return self.result.clone();
        }
        Err(InvalidInput::BadField {
            field: "request_id".to_owned(),
            reason: "it was used for another request; give every request an id of its own"
                .to_owned(),
        }
        .into())
    }
}

/// The first bytes of the command's digest. The salt of a new collection is drawn anew by every attempt.
fn fingerprint(command: &Command) -> u64 {
    let unsalted = match command {
        Command::CreateCollection { name, schema, .. } => Some(Command::CreateCollection {
            name: name.clone(),
            schema: schema.clone(),
            salt: [0; 16],
        }),
        _ => None,
    };
    let bytes = codec::encode_versioned(COMMAND_TAG, unsalted.as_ref().unwrap_or(command));
    value_digest(&bytes).truncated()
}
