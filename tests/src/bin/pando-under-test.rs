//! The `pando` program with fail points: what the cluster tests start, always built from the sources as they are.

use std::process::ExitCode;

use fail::FailScenario;

fn main() -> ExitCode {
    // Like the release build, which is compiled so: a panic anywhere ends the process where it stands.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    // Takes the fail points from the environment variable FAILPOINTS.
    let scenario = FailScenario::setup();
    let code = pando_cli::main();
    scenario.teardown();
    code
}
