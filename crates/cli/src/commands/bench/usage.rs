//! What processes use, and what the machine has: read off /proc.

use std::path::Path;

use anyhow::Context as _;
use procfs::process::{ClearRefs, Process};
use procfs::{CpuInfo, Current as _, Meminfo};
use serde::Serialize;

use crate::exit::Refused;
use crate::output::bytes;

const KIB: u64 = 1 << 10;

/// A process from one moment on.
pub(super) struct Watched {
    process: Process,
    ticks: u64,
    resident_bytes: u64,
}

/// What a process used meanwhile.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Used {
    /// User and system.
    pub(super) cpu_seconds: f64,
    /// Most resident memory beyond what it had at the beginning.
    pub(super) peak_extra_bytes: u64,
}

impl Watched {
    /// From now on: its peak of memory begins anew.
    pub(super) fn new(pid: i32) -> anyhow::Result<Self> {
        let process = Process::new(pid).context("the process is gone")?;
        process
            .clear_refs(ClearRefs::PeakRSS)
            .context("the peak of a process's memory cannot be reset")?;
        let resident = process.status()?.vmrss.unwrap_or(0) * KIB;
        Ok(Self {
            ticks: ticks(&process)?,
            resident_bytes: resident,
            process,
        })
    }

    /// CPU time it has used in all, in ticks.
    pub(super) fn ticks(&self) -> anyhow::Result<u64> {
        ticks(&self.process)
    }

    /// Until now.
    pub(super) fn used(&self) -> anyhow::Result<Used> {
        let ticks = self.ticks()? - self.ticks;
        let peak = self.process.status()?.vmhwm.unwrap_or(0) * KIB;
        Ok(Used {
            cpu_seconds: ticks as f64 / procfs::ticks_per_second() as f64,
            peak_extra_bytes: peak.saturating_sub(self.resident_bytes),
        })
    }
}

fn ticks(process: &Process) -> anyhow::Result<u64> {
    let stat = process.stat().context("the process is gone")?;
    Ok(stat.utime + stat.stime)
}

/// What a process has in memory now.
pub(super) fn resident_bytes(pid: i32) -> anyhow::Result<u64> {
    let process = Process::new(pid).context("the process is gone")?;
    Ok(process.status()?.vmrss.unwrap_or(0) * KIB)
}

/// Cores, CPU, memory and system, in one line.
pub(super) fn machine() -> anyhow::Result<String> {
    let cpu = CpuInfo::current()?;
    let model = cpu.model_name(0).unwrap_or("CPU of unknown model");
    let memory = Meminfo::current()?.mem_total;
    Ok(format!(
        "{} cores ({model}), {} of memory, Linux",
        cpu.num_cores(),
        bytes(memory)
    ))
}

/// Bytes that the processes of a run need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) memory: u64,
    pub(super) disk: u64,
}

impl Needs {
    /// Refuses where this machine has less to spare.
    pub(super) fn check(self, directory: &Path) -> anyhow::Result<()> {
        let memory = Meminfo::current()?.mem_available;
        let memory = memory.context("the system does not tell how much memory is free")?;
        let fs = rustix::fs::statvfs(directory)?;
        let disk = fs.f_bavail * fs.f_frsize;
        let free = Self { memory, disk };
        match self.lacking(free, directory) {
            None => Ok(()),
            Some(reason) => Err(Refused(reason).into()),
        }
    }

    fn lacking(self, free: Self, directory: &Path) -> Option<String> {
        let (memory, disk) = (bytes(self.memory), bytes(self.disk));
        let advice = "take fewer --points, or another --dir";
        if free.memory < self.memory {
            let free = bytes(free.memory);
            Some(format!(
                "about {memory} of memory are needed, {free} are free; {advice}"
            ))
        } else if free.disk < self.disk {
            let (free, directory) = (bytes(free.disk), directory.display());
            Some(format!(
                "about {disk} of disk are needed, {directory} has {free}; {advice}"
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_cpu_and_memory() {
        let pid = i32::try_from(std::process::id()).expect("small");
        let watched = Watched::new(pid).expect("it runs");
        let mut block = vec![0u8; 64 << 20];
        let begun = watched.ticks().expect("it runs");
        // Until the clock of the kernel has moved: a tick is 10 ms of CPU.
        while watched.ticks().expect("it runs") == begun {
            for byte in block.iter_mut().step_by(64) {
                *byte = byte.wrapping_add(1);
            }
        }
        let used = watched.used().expect("it runs");
        assert!(used.cpu_seconds > 0.0);
        assert!(used.peak_extra_bytes > 32 << 20, "{used:?}");
        assert!(Watched::new(i32::MAX).is_err());
    }

    #[test]
    fn too_little_memory_or_disk_is_refused() {
        let (needs, dir) = (
            Needs {
                memory: 10,
                disk: 10,
            },
            Path::new("/x"),
        );
        let lacking = |memory, disk| needs.lacking(Needs { memory, disk }, dir);
        assert_eq!(lacking(10, 10), None);
        assert!(lacking(9, 10).is_some_and(|reason| reason.contains("memory")));
        assert!(lacking(10, 9).is_some_and(|reason| reason.contains("/x")));
        assert!(
            Needs {
                memory: u64::MAX,
                disk: 0
            }
            .check(Path::new("/"))
            .is_err()
        );
        assert!(machine().expect("told").contains("cores"));
    }
}
