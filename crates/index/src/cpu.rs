//! Whether this machine can run what was compiled.
//!
//! The graph library chooses its SIMD when it is compiled (`.cargo/config.toml`), so a program built for newer
//! processors dies on an older one with an illegal instruction, somewhere. It should rather say so at its start.

/// The processor lacks instructions this program was compiled to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this processor lacks {}, which this program was built to use; run it on an x86-64-v3 processor (most since \
     2015), or build it for any x86-64 with RUSTFLAGS=\"-C target-cpu=x86-64\", which makes graph searches several \
     times slower",
    missing.join(", ")
)]
pub struct UnsupportedCpu {
    /// What it lacks.
    pub missing: Vec<&'static str>,
}

/// Compares the processor with what this program was compiled for. To be called first thing.
///
/// # Errors
/// When the processor lacks something. Nothing else may be done then.
pub fn check_cpu() -> Result<(), UnsupportedCpu> {
    match missing() {
        missing if missing.is_empty() => Ok(()),
        missing => Err(UnsupportedCpu { missing }),
    }
}

#[cfg(target_arch = "x86_64")]
fn missing() -> Vec<&'static str> {
    // `is_x86_feature_detected` answers at once for what was compiled in, without asking the processor: so nothing
    // would ever be missing. CPUID is asked directly.
    use std::arch::x86_64::{__cpuid, __cpuid_count, __get_cpuid_max};
    let bit = |word: u32, bit: u32| word >> bit & 1 == 1;
    let (basic, extended) = (__get_cpuid_max(0).0, __get_cpuid_max(0x8000_0000).0);
    let one = __cpuid(1).ecx;
    let seven = match basic {
        7.. => __cpuid_count(7, 0).ebx,
        _ => 0,
    };
    let extra = match extended {
        0x8000_0001.. => __cpuid(0x8000_0001).ecx,
        _ => 0,
    };
    let needed = [
        ("AVX", cfg!(target_feature = "avx"), bit(one, 28)),
        ("FMA", cfg!(target_feature = "fma"), bit(one, 12)),
        ("F16C", cfg!(target_feature = "f16c"), bit(one, 29)),
        ("MOVBE", cfg!(target_feature = "movbe"), bit(one, 22)),
        // The operating system must save the wide registers, too.
        ("OSXSAVE", cfg!(target_feature = "xsave"), bit(one, 27)),
        ("AVX2", cfg!(target_feature = "avx2"), bit(seven, 5)),
        ("BMI1", cfg!(target_feature = "bmi1"), bit(seven, 3)),
        ("BMI2", cfg!(target_feature = "bmi2"), bit(seven, 8)),
        ("LZCNT", cfg!(target_feature = "lzcnt"), bit(extra, 5)),
    ];
    (needed.into_iter())
        .filter_map(|(name, compiled, there)| (compiled && !there).then_some(name))
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn missing() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_this_test_is_good_enough() {
        assert_eq!(check_cpu(), Ok(()));
    }

    #[test]
    fn the_message_says_what_to_do() {
        let error = UnsupportedCpu {
            missing: vec!["AVX2", "FMA"],
        };
        let text = error.to_string();
        assert!(
            text.starts_with("this processor lacks AVX2, FMA,"),
            "{text}"
        );
        assert!(
            text.contains("RUSTFLAGS=\"-C target-cpu=x86-64\""),
            "{text}"
        );
    }
}
