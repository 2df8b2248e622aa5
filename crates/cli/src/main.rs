//! The `pando` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    pando_cli::main()
}
