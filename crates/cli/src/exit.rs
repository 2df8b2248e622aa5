//! Exit codes: what a script learns from a command without reading its text.
//!
//! Commands fail with [`anyhow::Error`]; the code is found by the first cause that says something about it
//! ([`Exit::of`]). Nothing else in the program names a number.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use pando_client::{ClientError, ErrorKind};
use pando_model::InvalidInput;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The answer is no: roots differ, no such point, collection or member, not healthy.
    No = 1,
    /// The command or the data given to it is wrong. The value clap uses for its own errors.
    Input = 2,
    /// No node answered, no leader, or not in time.
    Unavailable = 3,
    /// The cluster understood and refused.
    Refused = 4,
    /// Something broke: a file, the disk, a defect.
    Failed = 5,
    /// Ended by ctrl-c, as a shell reports it.
    Interrupted = 130,
}

/// Goes below `pando --help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    the answer is no: roots differ, no such point, collection or member
  2    the command or the data given to it is wrong
  3    the cluster is unavailable, or did not answer in time
  4    the cluster refused
  5    something failed: a file, a disk, a defect
  130  interrupted";

impl Exit {
    /// What an error comes to: the first cause that says something about it decides.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(Self::of_cause)
            .unwrap_or(Self::Failed)
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            return Some(Self::of_kind(error.kind()));
        }
        let is = [
            (cause.is::<No>(), Self::No),
            (
                cause.is::<BadInput>() || cause.is::<InvalidInput>(),
                Self::Input,
            ),
            (cause.is::<Late>(), Self::Unavailable),
            (cause.is::<Refused>(), Self::Refused),
            (cause.is::<Interrupted>(), Self::Interrupted),
        ];
        is.into_iter().find_map(|(is, exit)| is.then_some(exit))
    }

    fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidInput => Self::Input,
            ErrorKind::CollectionNotFound
            | ErrorKind::AliasNotFound
            | ErrorKind::NodeNotFound
            | ErrorKind::PointNotFound => Self::No,
            ErrorKind::NotLeader
            | ErrorKind::NoLeader
            | ErrorKind::Timeout
            | ErrorKind::Overloaded
            | ErrorKind::NotServing
            | ErrorKind::Stopped
            | ErrorKind::Unreachable => Self::Unavailable,
            ErrorKind::CollectionExists
            | ErrorKind::NameIsAlias
            | ErrorKind::NotInitialized
            | ErrorKind::AlreadyInitialized
            | ErrorKind::Membership
            | ErrorKind::ForeignCluster
            | ErrorKind::ProtocolVersion
            | ErrorKind::ResponseTooLarge
            | ErrorKind::CatalogueFull
            | ErrorKind::NodeIdUsed => Self::Refused,
            ErrorKind::Storage | ErrorKind::BadReply | ErrorKind::Internal => Self::Failed,
            // The SDK may learn kinds this program does not know.
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The answer to the question asked is no. The text says what was found instead.
#[derive(Debug)]
pub(crate) struct No(pub(crate) String);

/// Data given to a command is wrong. The text says where, what was found and what is expected.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

/// Something did not happen in time.
#[derive(Debug)]
pub(crate) struct Late(pub(crate) String);

/// The cluster is not in a state in which the command makes sense. The text says what to do first.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

/// The user ended the command.
#[derive(Debug)]
pub(crate) struct Interrupted;

macro_rules! message_error {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Error for $name {}
    )*};
}
message_error!(No, BadInput, Late, Refused);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl Error for Interrupted {}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_first_telling_cause_decides() {
        let no = anyhow::Error::new(No("two roots".into())).context("verifying");
        assert_eq!(Exit::of(&no), Exit::No);
        let input = Err::<(), _>(BadInput("row 3".into())).context("after 2 points");
        assert_eq!(Exit::of(&input.expect_err("an error")), Exit::Input);
        assert_eq!(
            Exit::of(&Late("no leader".into()).into()),
            Exit::Unavailable
        );
        assert_eq!(
            Exit::of(&Refused("no cluster".into()).into()),
            Exit::Refused
        );
        assert_eq!(Exit::of(&Interrupted.into()), Exit::Interrupted);
        assert_eq!(Exit::of(&io::Error::other("disk").into()), Exit::Failed);
        assert_eq!(Exit::of(&anyhow::anyhow!("who knows")), Exit::Failed);
        let model = InvalidInput::BadId { id: "x".into() };
        assert_eq!(Exit::of(&model.into()), Exit::Input);
    }

    #[test]
    fn refusals_and_outages_are_told_apart() {
        assert_eq!(Exit::of_kind(ErrorKind::CollectionNotFound), Exit::No);
        assert_eq!(Exit::of_kind(ErrorKind::CollectionExists), Exit::Refused);
        assert_eq!(Exit::of_kind(ErrorKind::NoLeader), Exit::Unavailable);
        assert_eq!(Exit::of_kind(ErrorKind::Storage), Exit::Failed);
    }

    #[test]
    fn every_code_is_explained() {
        for exit in [
            Exit::Ok,
            Exit::No,
            Exit::Input,
            Exit::Unavailable,
            Exit::Refused,
            Exit::Failed,
            Exit::Interrupted,
        ] {
            let line = format!("\n  {:<4} ", exit as u8);
            assert!(HELP.contains(&line), "{exit:?}");
        }
    }
}
