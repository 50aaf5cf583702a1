//! QEMU with Xen in it: started stopped, driven through its debugger, and never left behind.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use tempfile::TempDir;

use super::debugger::Debugger;
use super::kernel;
use crate::provision::{Qemu, Xen};
use crate::target::booted::launcher;

/// A machine with one processor, a serial port and as little else as it can boot with. It starts
/// stopped, and the debugger talks through standard input and output.
const OPTIONS: &str = "-machine pc -accel tcg,tb-size=32 -cpu max -m 128 -nodefaults -no-user-config -display none -no-reboot \
    -S -chardev stdio,id=debugger,signal=off -gdb chardev:debugger";

/// Arguments of Xen. `loglvl=info` is what 4.20 needs to say its version. Interrupts of its own while the guest runs are
/// no use, and QEMU leaves RF set behind them: hence the scheduler without time slices and no polling for machine
/// checks. What a Meltdown mitigation costs is nothing that a guest may see; without it CR3 tells whether the kernel
/// or a program runs. `noreboot` keeps the memory of a domain that crashed.
const XEN_ARGUMENTS: &str = "console=com1 loglvl=info guest_loglvl=all noreboot dom0_mem=16M \
    dom0_max_vcpus=1 sched=null mce=off xpti=no";

/// A running QEMU. Dropping it ends the process.
pub(super) struct Emulator {
    child: Child,
    pub debugger: Debugger<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    folder: TempDir,
}

impl Emulator {
    /// Starts QEMU; nothing runs in it yet.
    pub fn start(qemu: &Qemu, xen: &Xen) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("conform-").tempdir()?;
        let image = folder.path().join("kernel");
        fs::write(&image, kernel::image())?;
        let console = folder.path().join("console");
        File::create(&console)?;
        let errors = File::create(folder.path().join("errors"))?;
        let mut command = qemu.command(launcher());
        command.args(OPTIONS.split_whitespace());
        command.arg("-kernel").arg(&xen.image);
        command.arg("-append").arg(XEN_ARGUMENTS);
        command.arg("-initrd").arg(&image);
        // In the path of a character device a comma is written twice.
        let path = console.to_string_lossy().replace(',', ",,");
        command
            .arg("-chardev")
            .arg(format!("file,id=console,path={path}"));
        command.args(["-serial", "chardev:console"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()?;
        let (sender, pieces) = channel();
        let (Some(input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("QEMU has no standard input and output"));
        };
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let piece = buffer.get(..length).unwrap_or_default().to_vec();
                if sender.send(piece).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            debugger: Debugger::new(input, pieces),
            reader: Some(reader),
            folder,
        })
    }

    /// What Xen has printed.
    pub fn console(&self) -> String {
        text(&self.folder.path().join("console"))
    }

    /// What QEMU itself has printed.
    pub fn errors(&self) -> String {
        text(&self.folder.path().join("errors"))
    }
}

fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards, and so the reader sees the
        // end of its output.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
