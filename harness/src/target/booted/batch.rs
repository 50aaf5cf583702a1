//! Scenarios of a family in a booted kernel: both ends.
//!
//! Results travel many at a time, since saying which known outcome was seen takes a byte or
//! two. When a boot is lost, what had no result yet runs in another one, in which each scenario
//! is announced, so that the one that does it is known.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::Booted;
use super::agent::{Channel, Executor, panic_text};
use super::boots::Report;
use super::frame::{Job, Message, Told};
use crate::batch::Family;
use crate::batch::item::{Item, Seen, Work};
use crate::batch::runner::Runner;
use crate::gates::Payload as Gates;
use crate::sequences::Payload as Sequences;
use crate::target::kernel_log::KernelLog;
use crate::target::{Run, RunOptions};

/// How long results wait to travel together.
const TICK: Duration = Duration::from_millis(250);
/// Runs that come back in full from one boot. A kernel in which everything deviates would
/// otherwise be busy with telling.
const TOLD: usize = 500;

/// The agent's end.
pub(super) fn run<E: Executor, F: Display>(
    job: &Job<'_>,
    executor: &mut E,
    open: &impl Fn() -> Result<E, F>,
    channel: &mut Channel,
    log: &mut KernelLog,
) -> io::Result<()> {
    match &job.work {
        None => Ok(()),
        Some(Work::Sequences(items)) => {
            run_items::<Sequences, E, F>(items, job, executor, open, channel, log)
        }
        Some(Work::Gates(items)) => run_items::<Gates, E, F>(items, job, executor, open, channel, log),
    }
}

fn run_items<P: Family, E: Executor, F: Display>(
    items: &[Cow<'_, Item<P::Row>>],
    job: &Job<'_>,
    executor: &mut E,
    open: &impl Fn() -> Result<E, F>,
    channel: &mut Channel,
    log: &mut KernelLog,
) -> io::Result<()> {
    let smm = executor.identity().smm;
    let mut runner = Runner::<P>::new(smm).map_err(io::Error::other)?;
    let mut results: Vec<Told> = Vec::new();
    let mut before = None;
    let mut told = 0;
    let mut sent = Instant::now();
    for item in items {
        let late = log.complaints();
        match results.last_mut() {
            _ if late.is_empty() => {}
            Some(last) => last.complaints.extend(late),
            None => channel.send(&Message::Complained(before, late))?,
        }
        if job.careful {
            channel.send(&Message::Starting(item.number))?;
        }
        let run = catch_unwind(AssertUnwindSafe(|| {
            runner.run(item, |scenario| executor.run_one(scenario, job.options))
        }));
        let mut seen = match run {
            Ok(seen) => seen,
            Err(payload) => {
                *executor = open().map_err(|error| io::Error::other(error.to_string()))?;
                let text = format!("the agent panicked: {}", panic_text(payload.as_ref()));
                Seen::Other(Box::new(Run::Broken(text)))
            }
        };
        if matches!(&seen, Seen::Other(run) if matches!(**run, Run::Done(_))) {
            told += 1;
            if told > TOLD {
                seen = Seen::Untold;
            }
        }
        results.push(Told {
            number: item.number,
            seen,
            complaints: log.complaints(),
        });
        before = Some(item.number);
        if job.careful || sent.elapsed() > TICK {
            channel.send(&Message::Results(std::mem::take(&mut results)))?;
            sent = Instant::now();
        }
    }
    channel.send(&Message::Results(results))
}

impl Booted {
    /// Runs items and hands each result to `sink` with its number, exactly once, unless it was told
    /// to stop or cannot be used, and what else there is to tell.
    pub fn run_items<F: Family>(
        &mut self,
        items: &[Item<F::Row>],
        options: RunOptions,
        sink: &mut dyn FnMut(Report),
    ) {
        let all: BTreeMap<u32, &Item<F::Row>> = items.iter().map(|item| (item.number, item)).collect();
        let job = |left: &BTreeSet<u32>, careful| {
            let wanted = left.iter().filter_map(|number| all.get(number));
            Job {
                options,
                probe: false,
                scenarios: Vec::new(),
                work: Some(F::work(wanted.map(|item| Cow::Borrowed(*item)).collect())),
                careful,
            }
        };
        self.run_all(all.keys().copied().collect(), true, &job, sink);
    }
}
