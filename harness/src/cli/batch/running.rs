//! Scenarios of a family on a running target: threads, and what they report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use crate::batch::Family;
use crate::batch::item::Item;
use crate::batch::runner::Runner;
use crate::cli::batch::Wanted;
use crate::cli::session::{Kind, Prepared};
use crate::interrupt;
use crate::target::RunOptions;
use crate::target::booted::{Booted, Report};
use crate::target::kernel_log::KernelLog;
use crate::target::kvm::Kvm;

/// Results on their way. Dropping this ends the emulators.
pub(super) struct Events {
    receiver: Receiver<Report>,
    stop: Arc<AtomicBool>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The next event; nothing when the target is done or the user wants to stop.
pub(super) fn next(events: &Events) -> Option<Report> {
    loop {
        if interrupt::interrupted() {
            return None;
        }
        match events.receiver.recv_timeout(interrupt::LOOK) {
            Ok(event) => return Some(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Runs the items on threads of their own; a booted target several times at once if `jobs`
/// says so, each with a share of them.
pub(super) fn start<F: Family>(
    target: &Prepared,
    items: &[Item<F::Row>],
    wanted: &Wanted<'_>,
    smm: bool,
) -> Events {
    let jobs = wanted.jobs;
    let options = RunOptions {
        observe: wanted.observe,
        ..RunOptions::default()
    };
    let (sender, receiver) = channel();
    let stop: Arc<AtomicBool> = std::sync::Arc::default();
    match &target.kind {
        Kind::Kvm(_) => {
            let (items, stop) = (items.to_vec(), Arc::clone(&stop));
            thread::spawn(move || {
                if let Err(reason) = local::<F>(&items, options, smm, &stop, &sender) {
                    let _ = sender.send(Report::Unusable(reason));
                }
            });
        }
        Kind::Booted { config, .. } => {
            for job in 0..jobs.max(1) {
                let share: Vec<Item<F::Row>> = items.iter().skip(job).step_by(jobs.max(1)).cloned().collect();
                let mut config = config.clone();
                config.stop = Arc::clone(&stop);
                let sender = sender.clone();
                thread::spawn(move || booted::<F>(Booted::new(*config), &share, options, &sender));
            }
        }
        Kind::Model | Kind::XenPv { .. } | Kind::Unusable(_) => {}
    }
    Events { receiver, stop }
}

fn booted<F: Family>(
    mut target: Booted,
    items: &[Item<F::Row>],
    options: RunOptions,
    sender: &Sender<Report>,
) {
    if !items.is_empty() {
        let mut sink = |report| drop(sender.send(report));
        target.run_items::<F>(items, options, &mut sink);
    }
}

fn local<F: Family>(
    items: &[Item<F::Row>],
    options: RunOptions,
    smm: bool,
    stop: &AtomicBool,
    sender: &Sender<Report>,
) -> Result<(), String> {
    let mut kvm = Kvm::open().map_err(|error| error.to_string())?;
    let mut runner = Runner::<F>::new(smm).map_err(|error| error.to_string())?;
    let mut log = KernelLog::of_host();
    let mut identity = kvm.identity().clone();
    identity.system.complaints = log.watched().clone();
    let _ = sender.send(Report::Identified(Box::new(identity)));
    for item in items {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let seen = runner.run(item, |scenario| kvm.run_one(scenario, options));
        let ran = Report::Ran(item.number, seen, log.complaints());
        if sender.send(ran).is_err() {
            break;
        }
    }
    drop(kvm);
    let complaints = log.complaints();
    if !complaints.is_empty() {
        let _ = sender.send(Report::Complained(complaints));
    }
    Ok(())
}
