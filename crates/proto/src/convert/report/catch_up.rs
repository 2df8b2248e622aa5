//! What a node says of its catch-ups.

use crate::error::DecodeError;
use crate::report::{CatchUp, CatchUpPath, CatchUpWhy, LastCatchUp, SyncProgress};
use crate::v1::{self, node_state};

impl From<CatchUpPath> for v1::CatchUpPath {
    fn from(path: CatchUpPath) -> Self {
        match path {
            CatchUpPath::Log => Self::Log,
            CatchUpPath::Equal => Self::Equal,
            CatchUpPath::Lineage => Self::Lineage,
            CatchUpPath::Walk => Self::Walk,
            CatchUpPath::Bulk => Self::Bulk,
            CatchUpPath::Delta => Self::Delta,
        }
    }
}

fn decode_path(wire: i32) -> Result<CatchUpPath, DecodeError> {
    match v1::CatchUpPath::try_from(wire) {
        Ok(v1::CatchUpPath::Log) => Ok(CatchUpPath::Log),
        Ok(v1::CatchUpPath::Equal) => Ok(CatchUpPath::Equal),
        Ok(v1::CatchUpPath::Lineage) => Ok(CatchUpPath::Lineage),
        Ok(v1::CatchUpPath::Walk) => Ok(CatchUpPath::Walk),
        Ok(v1::CatchUpPath::Bulk) => Ok(CatchUpPath::Bulk),
        Ok(v1::CatchUpPath::Delta) => Ok(CatchUpPath::Delta),
        Ok(v1::CatchUpPath::Unspecified) => Err(DecodeError::missing("path")),
        Err(_) => Err(DecodeError::malformed("path", format!("unknown: {wire}"))),
    }
}

impl From<CatchUpWhy> for v1::CatchUpWhy {
    fn from(why: CatchUpWhy) -> Self {
        Self {
            reason: why.reason,
            had_index: why.had_index,
            log_kept_from: why.log_kept_from,
            replay_bytes: why.replay_bytes,
        }
    }
}

impl From<v1::CatchUpWhy> for CatchUpWhy {
    fn from(wire: v1::CatchUpWhy) -> Self {
        Self {
            reason: wire.reason,
            had_index: wire.had_index,
            log_kept_from: wire.log_kept_from,
            replay_bytes: wire.replay_bytes,
        }
    }
}

impl From<SyncProgress> for node_state::Syncing {
    fn from(sync: SyncProgress) -> Self {
        Self {
            done: sync.done,
            total: sync.total,
            leader_id: sync.leader,
            log_index: sync.index,
            received_bytes: sync.received_bytes,
            elapsed_seconds: sync.elapsed_seconds,
            left_seconds: sync.left_seconds,
            installing: sync.installing,
            why: sync.why.map(Into::into),
        }
    }
}

impl From<node_state::Syncing> for SyncProgress {
    fn from(wire: node_state::Syncing) -> Self {
        Self {
            done: wire.done,
            total: wire.total,
            leader: wire.leader_id,
            index: wire.log_index,
            received_bytes: wire.received_bytes,
            elapsed_seconds: wire.elapsed_seconds,
            left_seconds: wire.left_seconds,
            installing: wire.installing,
            why: wire.why.map(Into::into),
        }
    }
}

impl From<CatchUp> for v1::CatchUpStatus {
    fn from(c: CatchUp) -> Self {
        Self {
            entries_replayed: c.entries_replayed,
            delta_sessions: c.delta_sessions,
            rows_put: c.rows_put,
            rows_deleted: c.rows_deleted,
            sync_bytes_in: c.sync_bytes_in,
            sync_bytes_out: c.sync_bytes_out,
            resumed: c.resumed,
            count: c.count,
            last: c.last.map(Into::into),
        }
    }
}

impl TryFrom<v1::CatchUpStatus> for CatchUp {
    type Error = DecodeError;

    fn try_from(wire: v1::CatchUpStatus) -> Result<Self, Self::Error> {
        let last = wire.last.map(LastCatchUp::try_from).transpose();
        Ok(Self {
            entries_replayed: wire.entries_replayed,
            delta_sessions: wire.delta_sessions,
            rows_put: wire.rows_put,
            rows_deleted: wire.rows_deleted,
            sync_bytes_in: wire.sync_bytes_in,
            sync_bytes_out: wire.sync_bytes_out,
            resumed: wire.resumed,
            count: wire.count,
            last: last.map_err(DecodeError::within("last"))?,
        })
    }
}

impl From<LastCatchUp> for v1::LastCatchUp {
    fn from(last: LastCatchUp) -> Self {
        Self {
            path: v1::CatchUpPath::from(last.path).into(),
            why: Some(last.why.into()),
            log_index: last.index,
            seconds: last.seconds,
            install_seconds: last.install_seconds,
            rows_put: last.rows_put,
            rows_deleted: last.rows_deleted,
            row_bytes: last.row_bytes,
            metadata_bytes: last.metadata_bytes,
            received_bytes: last.received_bytes,
            sent_bytes: last.sent_bytes,
            round_trips: last.round_trips,
            entries: last.entries,
        }
    }
}

impl TryFrom<v1::LastCatchUp> for LastCatchUp {
    type Error = DecodeError;

    fn try_from(wire: v1::LastCatchUp) -> Result<Self, Self::Error> {
        Ok(Self {
            path: decode_path(wire.path)?,
            why: wire.why.unwrap_or_default().into(),
            index: wire.log_index,
            seconds: wire.seconds,
            install_seconds: wire.install_seconds,
            rows_put: wire.rows_put,
            rows_deleted: wire.rows_deleted,
            row_bytes: wire.row_bytes,
            metadata_bytes: wire.metadata_bytes,
            received_bytes: wire.received_bytes,
            sent_bytes: wire.sent_bytes,
            round_trips: wire.round_trips,
            entries: wire.entries,
        })
    }
}
