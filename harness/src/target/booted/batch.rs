//! Scenarios of a family in a booted kernel: both ends.
//!
//! Results travel many at a time, since saying which known outcome was seen takes a byte or
//! two. When a boot is lost, what had no result yet runs in another one, in which each scenario
//! is announced, so that the one that does it is known.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::agent::{Channel, Executor, panic_text};
use super::emulator::Lost;
use super::frame::{Job, Message};
use super::{Booted, End, FRUITLESS_BOOTS, IDLE_BOOTS};
use crate::batch::Family;
use crate::batch::item::{Item, Seen, Work};
use crate::batch::runner::Runner;
use crate::gates::Payload as Gates;
use crate::sequences::Payload as Sequences;
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
) -> io::Result<()> {
    match &job.work {
        None => Ok(()),
        Some(Work::Sequences(items)) => run_items::<Sequences, E, F>(items, job, executor, open, channel),
        Some(Work::Gates(items)) => run_items::<Gates, E, F>(items, job, executor, open, channel),
    }
}

fn run_items<P: Family, E: Executor, F: Display>(
    items: &[Cow<'_, Item<P::Row>>],
    job: &Job<'_>,
    executor: &mut E,
    open: &impl Fn() -> Result<E, F>,
    channel: &mut Channel,
) -> io::Result<()> {
    let smm = executor.identity().smm;
    let mut runner = Runner::<P>::new(smm).map_err(io::Error::other)?;
    let mut results = Vec::new();
    let mut told = 0;
    let mut sent = Instant::now();
    for item in items {
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
        results.push((item.number, seen));
        if job.careful || sent.elapsed() > TICK {
            channel.send(&Message::Seen(std::mem::take(&mut results)))?;
            sent = Instant::now();
        }
    }
    channel.send(&Message::Seen(results))
}

impl Booted {
    /// Runs items and hands each result to `sink` with its number, exactly once, unless it
    /// was told to stop. `running` is told when the kernel is up.
    pub fn run_items<F: Family>(
        &mut self,
        items: &[Item<F::Row>],
        options: RunOptions,
        sink: &mut dyn FnMut(u32, Seen),
        running: &mut dyn FnMut(),
    ) {
        let mut left: BTreeMap<u32, &Item<F::Row>> = items.iter().map(|item| (item.number, item)).collect();
        let (mut idle, mut fruitless, mut careful) = (0, 0, false);
        while !left.is_empty() {
            let before = left.len();
            let end = self.boot_items::<F>(&mut left, options, careful, sink, running);
            let gained = left.len() < before;
            let reason = match end {
                End::Finished => "the agent finished without a result for this scenario".to_owned(),
                End::Stopped => return,
                End::Unusable(reason) => reason,
                End::Lost { reason, running } => {
                    careful = true;
                    let number = running.and_then(|number| u32::try_from(number).ok());
                    if let Some(number) = number.filter(|number| left.remove(number).is_some()) {
                        sink(number, Seen::Other(Box::new(Run::Broken(reason.clone()))));
                    }
                    fruitless = if gained { 0 } else { fruitless + 1 };
                    idle = if gained || number.is_some() { 0 } else { idle + 1 };
                    if fruitless < FRUITLESS_BOOTS && idle < IDLE_BOOTS {
                        continue;
                    }
                    format!(
                        "given up after {fruitless} boots in a row without a result; the last one: {reason}"
                    )
                }
            };
            for number in std::mem::take(&mut left).into_keys() {
                sink(number, Seen::Other(Box::new(Run::Broken(reason.clone()))));
            }
        }
    }

    fn boot_items<F: Family>(
        &mut self,
        left: &mut BTreeMap<u32, &Item<F::Row>>,
        options: RunOptions,
        careful: bool,
        sink: &mut dyn FnMut(u32, Seen),
        up: &mut dyn FnMut(),
    ) -> End {
        let job = Job {
            options,
            probe: false,
            scenarios: Vec::new(),
            work: Some(F::work(left.values().map(|item| Cow::Borrowed(*item)).collect())),
            careful,
        };
        let (mut emulator, start) = match self.launch(&job) {
            Ok(launched) => launched,
            Err(end) => return end,
        };
        let mut patience = self.config.boot_patience;
        let mut running = None;
        loop {
            match emulator.next(patience, &self.config.stop) {
                Ok(Message::Hello(identity)) => {
                    self.greeted(identity, start);
                    patience = self.config.patience;
                    up();
                }
                Ok(Message::Starting(number)) => running = usize::try_from(number).ok(),
                Ok(Message::Seen(results)) => {
                    for (number, seen) in results {
                        if left.remove(&number).is_some() {
                            sink(number, seen);
                        }
                    }
                    running = None;
                }
                Ok(Message::Result(..) | Message::Probed(_)) => {}
                Ok(Message::Finished) => {
                    self.alarms.extend(emulator.alarm());
                    return End::Finished;
                }
                Ok(Message::Fatal(text)) => return End::Unusable(text),
                Err(Lost::Stopped) => return End::Stopped,
                Err(lost) => {
                    let reason = self.explain(&lost, &emulator, running.is_some());
                    return End::Lost { reason, running };
                }
            }
        }
    }
}
