//! Booting until everything has a result: the one way in which anything runs in a booted kernel.
//!
//! The agent is greeted, and what it says of itself is checked; its results are taken as they come;
//! and when a boot is lost, what had no result runs in another one. The scenario that a boot was
//! lost in runs once more, alone, if the kernel seems to have died of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::cause::{Cause, cause};
use super::emulator::{Emulator, Lost, Machine};
use super::frame::{Corrupt, Job, Message, Told};
use super::initramfs::Contents;
use super::{BootError, Booted, Platform};
use crate::batch::item::Seen;
use crate::target::complaint::{Complaint, ComplaintKind};
use crate::target::event::{Again, HowDied};
use crate::target::{Backend, Death, Identity, LostBoot, Run};

/// Boots in a row that may be lost before any scenario starts until the rest is given up:
/// such a kernel will hardly ever boot.
const IDLE_BOOTS: u32 = 3;
/// Boots in a row that may be lost in the first scenario that they run. Each boot has one
/// scenario less to run, so several cases that kill the kernel may well follow each other.
const FRUITLESS_BOOTS: u32 = 8;

/// What a run in booted kernels tells, with scenarios by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// What the target is. Comes with every boot.
    Identified(Box<Identity>),
    /// What came of a scenario, and what the kernel complained of meanwhile.
    Ran(u32, Seen, Vec<Complaint>),
    /// What the kernel complained of while no scenario ran.
    Complained(Vec<Complaint>),
    /// A boot was lost.
    BootLost(LostBoot),
    /// Something that whoever reads the results has to know.
    Note(String),
    /// It cannot be used, or not any more: what has no result gets none.
    Unusable(String),
}

/// Makes a job of what is left. Careful: each scenario is announced.
pub(super) type MakeJob<'j, 's> = &'j dyn Fn(&BTreeSet<u32>, bool) -> Job<'s>;

/// How a boot ended.
enum End {
    /// The agent ran everything.
    Finished,
    /// The user or the caller wants no more.
    Stopped,
    /// Nothing will ever run.
    Unusable(String),
    /// It was lost; another boot may get further.
    Lost(Loss),
}

/// How a boot was lost.
struct Loss {
    /// In words, with those of the console.
    reason: String,
    cause: Cause,
    /// Complaints that the agent did not get to tell.
    complaints: Vec<Complaint>,
    /// The scenario that was running.
    running: Option<u32>,
}

/// What is known of a boot while it goes on.
struct Watch {
    /// The agent has reported.
    greeted: bool,
    running: Option<u32>,
    /// The last result: the kernel may complain yet of what it did.
    held: Option<Told>,
    /// The headlines that the agent has told.
    told: Vec<String>,
}

impl Watch {
    fn release(&mut self, sink: &mut dyn FnMut(Report)) {
        if let Some(told) = self.held.take() {
            sink(Report::Ran(told.number, told.seen, told.complaints));
        }
    }

    fn heard(&mut self, complaints: &[Complaint]) {
        self.told
            .extend(complaints.iter().map(|complaint| complaint.headline.clone()));
    }

    /// Those of the console that the agent has not told.
    fn untold(&self, console: Vec<Complaint>) -> Vec<Complaint> {
        let mut told = self.told.clone();
        let is_new = |complaint: &Complaint| {
            let known = told.iter().position(|headline| *headline == complaint.headline);
            known.map(|known| told.swap_remove(known)).is_none()
        };
        console.into_iter().filter(is_new).collect()
    }
}

impl Booted {
    /// Runs everything that is left, in as many boots as it takes. `batched`: scenarios are
    /// announced only once a boot was lost.
    pub(super) fn run_all(
        &mut self,
        mut left: BTreeSet<u32>,
        batched: bool,
        job: MakeJob<'_, '_>,
        sink: &mut dyn FnMut(Report),
    ) {
        let (mut idle, mut fruitless, mut careful) = (0, 0, false);
        // Lost in some scenario that was not announced: the next boot tells in which.
        let mut unexplained: Option<(String, Vec<Complaint>)> = None;
        while !left.is_empty() {
            let before = left.len();
            let end = self.boot(&job(&left, careful), &mut left, sink);
            let gained = left.len() < before;
            let loss = match end {
                End::Lost(loss) => loss,
                End::Finished if left.is_empty() => break,
                End::Finished => {
                    sink(Report::Unusable(format!(
                        "the agent finished without a result for {} scenarios",
                        left.len()
                    )));
                    break;
                }
                End::Stopped => break,
                End::Unusable(reason) => {
                    sink(Report::Unusable(reason));
                    break;
                }
            };
            let culprit = loss.running.filter(|number| left.remove(number));
            let reason = loss.reason.clone();
            match culprit {
                Some(number) => {
                    let during = culprit;
                    if let Some((reason, mut complaints)) = unexplained.take() {
                        sink(Report::BootLost(LostBoot { reason, during }));
                        let again = |complaint: &Complaint| {
                            loss.complaints.iter().any(|other| other.is_like(complaint))
                        };
                        complaints.retain(|complaint| !again(complaint));
                        if !complaints.is_empty() {
                            sink(Report::Complained(complaints));
                        }
                    }
                    let reason = reason.clone();
                    sink(Report::BootLost(LostBoot { reason, during }));
                    if !self.died_in(number, loss, job, sink) {
                        break;
                    }
                }
                None => {
                    let reason = reason.clone();
                    if batched && !careful {
                        unexplained = Some((reason, loss.complaints));
                    } else {
                        lost_between(reason, loss.complaints, sink);
                    }
                }
            }
            careful = true;
            fruitless = if gained { 0 } else { fruitless + 1 };
            idle = if gained || culprit.is_some() { 0 } else { idle + 1 };
            if fruitless >= FRUITLESS_BOOTS || idle >= IDLE_BOOTS {
                if !left.is_empty() {
                    sink(Report::Unusable(format!(
                        "given up after {fruitless} boots in a row without a result; the last one: {reason}"
                    )));
                }
                break;
            }
        }
        if let Some((reason, complaints)) = unexplained {
            lost_between(reason, complaints, sink);
        }
    }

    /// Says what came of a scenario that a boot was lost in; if the kernel seems to have died of it
    /// with the help of another boot. False if the target was told to stop.
    fn died_in(
        &mut self,
        number: u32,
        loss: Loss,
        job: MakeJob<'_, '_>,
        sink: &mut dyn FnMut(Report),
    ) -> bool {
        let how = match loss.cause {
            Cause::Kernel(how) => how,
            Cause::Other => {
                let run = Seen::Other(Box::new(Run::Broken(loss.reason)));
                sink(Report::Ran(number, run, loss.complaints));
                return true;
            }
        };
        let mut alone = BTreeSet::from([number]);
        let end = self.boot(&job(&alone, true), &mut alone, &mut |report| {
            // What it was is known from the first time; that a boot was lost again is told below.
            drop(report);
        });
        let again = match &end {
            End::Stopped => return false,
            _ if alone.is_empty() => Again::Survived,
            End::Lost(Loss {
                cause: Cause::Kernel(_),
                running: Some(_),
                ..
            }) => Again::Died,
            _ => Again::Unknown,
        };
        let mut complaints = loss.complaints;
        if let End::Lost(second) = end {
            if complaints.is_empty() {
                complaints = second.complaints;
            }
            let (reason, during) = (second.reason, Some(number));
            sink(Report::BootLost(LostBoot { reason, during }));
        }
        let run = if how == HowDied::Restarted && again != Again::Died {
            Run::Broken(format!("{}\n{}", loss.reason, again.name()))
        } else {
            if complaints.is_empty() {
                let words = format!("the machine {}", how.name());
                complaints.push(Complaint::line(ComplaintKind::Restart, words));
            }
            Run::Died(Death {
                how,
                again,
                console: loss.reason,
            })
        };
        sink(Report::Ran(number, Seen::Other(Box::new(run)), complaints));
        true
    }

    /// Boots once with a job that has no scenarios.
    pub(super) fn boot_once(&mut self, job: &Job<'_>, sink: &mut dyn FnMut(Report)) -> Result<(), BootError> {
        match self.boot(job, &mut BTreeSet::new(), sink) {
            End::Unusable(reason) | End::Lost(Loss { reason, .. }) => Err(BootError(reason)),
            End::Finished | End::Stopped => Ok(()),
        }
    }

    /// Boots once and runs a job. Each scenario with a result leaves `left`.
    fn boot(&mut self, job: &Job<'_>, left: &mut BTreeSet<u32>, sink: &mut dyn FnMut(Report)) -> End {
        let (mut emulator, start) = match self.launch(job) {
            Ok(launched) => launched,
            Err(reason) => return End::Unusable(reason),
        };
        let mut patience = self.config.boot_patience;
        let mut watch = Watch {
            greeted: false,
            running: None,
            held: None,
            told: Vec::new(),
        };
        loop {
            let message = emulator.next(patience, &self.config.stop);
            if let Ok(Message::Complained(after, complaints)) = message {
                watch.heard(&complaints);
                match &mut watch.held {
                    Some(held) if Some(held.number) == after => held.complaints.extend(complaints),
                    _ => sink(Report::Complained(complaints)),
                }
                continue;
            }
            watch.release(sink);
            match message {
                Ok(Message::Hello(identity)) => {
                    if let Err(reason) = self.greet(*identity, start, sink) {
                        return End::Unusable(reason);
                    }
                    patience = self.config.patience;
                    watch.greeted = true;
                }
                Ok(Message::Starting(number)) => watch.running = Some(number),
                Ok(Message::Results(results)) => {
                    for told in results {
                        watch.release(sink);
                        if left.remove(&told.number) {
                            watch.heard(&told.complaints);
                            watch.held = Some(told);
                        } else {
                            let reason = format!(
                                "the agent told the result of scenario {} that it did not have to run, or twice",
                                told.number
                            );
                            sink(Report::BootLost(LostBoot { reason, during: None }));
                        }
                    }
                    watch.running = None;
                }
                Ok(Message::Probed(probe)) => self.probes.push(probe),
                Ok(Message::Complained(..)) => {}
                Ok(Message::Finished) => {
                    let complaints = watch.untold(emulator.complaints(watch.greeted));
                    if !complaints.is_empty() {
                        sink(Report::Complained(complaints));
                    }
                    return End::Finished;
                }
                Ok(Message::Fatal(text)) => return End::Unusable(text),
                Err(Lost::Stopped) => return End::Stopped,
                Err(Lost::Corrupt(error @ Corrupt::OtherBuild(_))) => {
                    return End::Unusable(error.to_string());
                }
                Err(lost) => {
                    let complaints = watch.untold(emulator.complaints(watch.greeted));
                    return End::Lost(Loss {
                        reason: self.explain(&lost, &emulator, watch.running.is_some()),
                        cause: cause(&lost, &complaints, &emulator.console()),
                        complaints,
                        running: watch.running,
                    });
                }
            }
        }
    }

    /// Starts an emulator with a job.
    fn launch(&mut self, job: &Job<'_>) -> Result<(Emulator, Instant), String> {
        if self.contents.is_none() {
            let contents = Contents::new(&self.config.executable, &self.config.kernel);
            self.contents = Some(contents.map_err(|error| error.to_string())?);
        }
        let Some(contents) = &self.contents else {
            return Err("the initramfs has no contents".to_owned());
        };
        let mut command_line = self.config.platform.command_line();
        let library_folders = contents.library_folders();
        if !library_folders.is_empty() {
            // What the kernel does not know and looks like NAME=VALUE is init's environment.
            command_line += &format!(" LD_LIBRARY_PATH={library_folders}");
        }
        if !self.config.arguments.is_empty() {
            command_line += &format!(" -- {}", self.config.arguments.join(" "));
        }
        let start = Instant::now();
        let machine = Machine {
            qemu: &self.config.qemu,
            kernel: &self.config.kernel.image,
            initramfs: contents,
            job,
            command_line: &command_line,
            platform: self.config.platform,
        };
        match Emulator::start(&machine) {
            Ok(emulator) => Ok((emulator, start)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes what the agent says about its kernel, if it is what was asked for.
    fn greet(
        &mut self,
        identity: Identity,
        start: Instant,
        sink: &mut dyn FnMut(Report),
    ) -> Result<(), String> {
        let platform = self.config.platform;
        if let Some(what) = mistaken(platform, identity.backend) {
            return Err(what);
        }
        self.boot_time = Some(start.elapsed());
        let mut identity = identity;
        self.config.name.clone_into(&mut identity.name);
        identity.system.emulator = Some(format!("QEMU {}", self.config.qemu.version()));
        let image = &self.config.kernel.release;
        if self.identity.is_none() && identity.kernel != *image {
            sink(Report::Note(format!(
                "the kernel says that it is {}, and the header of its image says {image}: judged by the former",
                identity.kernel
            )));
        }
        self.identity = Some(identity.clone());
        sink(Report::Identified(Box::new(identity)));
        Ok(())
    }

    fn explain(&self, lost: &Lost, emulator: &Emulator, running: bool) -> String {
        let words = emulator.last_words(&self.config.logs, &self.config.name);
        let when = if running {
            " while it ran this scenario"
        } else {
            ""
        };
        format!("{lost}{when}\n{words}")
    }

    /// How long the last boot took, from starting QEMU to the agent's first words.
    #[must_use]
    pub fn boot_time(&self) -> Option<Duration> {
        self.boot_time
    }
}

/// Tells that a boot was lost while no scenario ran, as far as anybody knows.
fn lost_between(reason: String, complaints: Vec<Complaint>, sink: &mut dyn FnMut(Report)) {
    sink(Report::BootLost(LostBoot { reason, during: None }));
    if !complaints.is_empty() {
        sink(Report::Complained(complaints));
    }
}

/// How the KVM of a kernel is another one than was asked for. Where KVM does not say what it is,
/// nobody knows better.
fn mistaken(platform: Platform, backend: Backend) -> Option<String> {
    let wanted = platform.backend();
    if platform == Platform::SvmNpt0 && backend != wanted {
        return Some("its KVM uses nested paging although it was told `kvm_amd.npt=0`".to_owned());
    }
    let other = backend != wanted && backend != Backend::Unknown;
    other.then(|| format!("its KVM is {backend:?}, and {wanted:?} was to be tested"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kvm_than_was_asked_for_is_refused() {
        assert_eq!(mistaken(Platform::Svm, Backend::Svm), None);
        assert_eq!(mistaken(Platform::Svm, Backend::Unknown), None);
        assert_eq!(mistaken(Platform::SvmNpt0, Backend::SvmNpt0), None);
        for (platform, backend) in [
            (Platform::SvmNpt0, Backend::Svm),
            (Platform::SvmNpt0, Backend::Unknown),
            (Platform::Svm, Backend::SvmNpt0),
            (Platform::Arm64Vhe, Backend::Arm64Nvhe),
        ] {
            assert!(mistaken(platform, backend).is_some(), "{platform:?} {backend:?}");
        }
    }

    #[test]
    fn what_the_agent_told_is_not_told_again() {
        let complaint = |text: &str| Complaint::line(ComplaintKind::Warning, text.to_owned());
        let watch = Watch {
            greeted: true,
            running: None,
            held: None,
            told: vec!["a".to_owned(), "a".to_owned()],
        };
        let console = ["a", "b", "a", "a"].map(complaint).to_vec();
        assert_eq!(watch.untold(console), [complaint("b"), complaint("a")]);
    }
}
