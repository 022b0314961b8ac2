//! The stand-in `rke2`, `kubectl` and `crictl`; see `airgap_testkit::rke2`.

use std::process::ExitCode;

fn main() -> ExitCode {
    airgap_testkit::rke2::main()
}
