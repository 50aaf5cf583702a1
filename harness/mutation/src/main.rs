//! `cargo mutation`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use mutation::irrelevant::{Irrelevant, LIST};
use mutation::model::{BuildError, Model};
use mutation::mutant::Mutant;
use mutation::pool::{self, PoolError};
use mutation::protocol::Tried;
use mutation::report::Results;
use mutation::sample::draw;
use mutation::workspace;

/// Changes one thing at a time in a copy of the reference model, and sees whether the cases notice by
/// what people have written in them.
///
/// Prints the mutants that survive, and a table by parts of the model. Exit status: 1 if fewer of the
/// relevant ones are caught than --least, if a rule of execute, segmentation, paging or local_apic is
/// reached by no case, or if the list of irrelevant ones does not fit; 3 if nothing could be tried.
#[derive(Debug, Parser)]
#[command(name = "mutation", verbatim_doc_comment)]
struct Arguments {
    /// What draws the sample.
    #[arg(long, default_value_t = 20_251_127)]
    seed: u64,
    /// Mutants in the sample.
    #[arg(long, default_value_t = 2_000)]
    sample: usize,
    /// Only mutants whose name or line begins so, all of them: `x86/paging.rs`, `x86/paging.rs Processor::walk`.
    #[arg(long)]
    only: Vec<String>,
    /// Processes.
    #[arg(long)]
    jobs: Option<usize>,
    /// Percent of the relevant mutants of the sample that must be caught.
    #[arg(long, default_value_t = 85.0)]
    least: f64,
    /// Also say which case catches each mutant, and how.
    #[arg(long)]
    caught: bool,
    /// Say which mutants no case comes to, in all of the model.
    #[arg(long)]
    unreached: bool,
}

/// Mutants after which one is told how far it has got.
const PROGRESS: usize = 100;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("harness/mutation/irrelevant.yaml: {0}")]
    List(String),
    #[error("these cases do not hold without any mutant:\n{0}")]
    Cases(String),
    #[error("no mutant is called like that")]
    Nothing,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap_or(root);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let irrelevant = Irrelevant::read(LIST).map_err(Failure::List)?;
    let model = Model::read(&root)?;
    let built = workspace::build(&model, &root, &target.join("mutation"), &target)?;
    let all: BTreeMap<usize, &Mutant> = model.mutants().collect();
    let viable: HashSet<usize> = built.viable.iter().copied().collect();
    let mutants: BTreeMap<usize, &Mutant> = all
        .iter()
        .filter(|(number, _)| viable.contains(number))
        .map(|(number, mutant)| (*number, *mutant))
        .collect();
    println!("{} mutants, of which {} compile", all.len(), mutants.len());

    let cases = root.join("cases");
    let ready = pool::ready(&built.runner, &cases)?;
    if !ready.broken.is_empty() {
        return Err(Failure::Cases(ready.broken.join("\n")));
    }
    let reached: HashSet<usize> = ready.reached.iter().map(|number| *number as usize).collect();
    println!("{} cases come to {} of them", ready.cases, reached.len());

    let sample = chosen(arguments, &mutants)?;
    // At once, so that a run that is interrupted has said something.
    let told = |tried: &Tried| match (&tried.caught, mutants.get(&(tried.mutant as usize))) {
        (None, Some(mutant)) if irrelevant.kind(mutant).is_none() => println!("survives: {mutant}"),
        (Some(caught), Some(mutant)) if arguments.caught => {
            println!("caught by {}: {mutant}\n    {}", caught.case, caught.how);
        }
        _ => {}
    };
    let tried = try_out(arguments, &built.runner, &cases, &sample, &reached, told)?;
    let results = Results {
        mutants: &mutants,
        reached: &reached,
        sample: &sample,
        tried: &tried,
        irrelevant: &irrelevant,
    };
    if arguments.unreached {
        let unreached = mutants.iter().filter(|(number, _)| !reached.contains(number));
        for (_, mutant) in unreached.filter(|(_, mutant)| irrelevant.kind(mutant).is_none()) {
            println!("unreached: {mutant}");
        }
    }
    let listed: Vec<&Mutant> = mutants.values().copied().collect();
    Ok(conclude(arguments, &results, &irrelevant.mistakes(&listed)))
}

fn chosen(arguments: &Arguments, mutants: &BTreeMap<usize, &Mutant>) -> Result<Vec<usize>, Failure> {
    let numbers: Vec<usize> = mutants.keys().copied().collect();
    if arguments.only.is_empty() {
        return Ok(draw(&numbers, arguments.sample, arguments.seed));
    }
    let is_chosen = |number: &usize| {
        let mutant = mutants[number];
        let (name, line) = (mutant.name(), mutant.to_string());
        let begins = |start: &String| name.starts_with(start) || line.starts_with(start);
        arguments.only.iter().any(begins)
    };
    let chosen: Vec<usize> = numbers.into_iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        Err(Failure::Nothing)
    } else {
        Ok(chosen)
    }
}

fn try_out(
    arguments: &Arguments,
    runner: &Path,
    cases: &Path,
    sample: &[usize],
    reached: &HashSet<usize>,
    told: impl Fn(&Tried) + Sync,
) -> Result<HashMap<usize, Tried>, Failure> {
    let worth: Vec<u32> = sample
        .iter()
        .filter(|number| reached.contains(number))
        .filter_map(|number| u32::try_from(*number).ok())
        .collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(processors);
    let count = AtomicUsize::new(0);
    let tried = pool::try_out(runner, cases, &worth, jobs, |tried| {
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(PROGRESS) || count == worth.len() {
            eprintln!("{count} of {} tried out", worth.len());
        }
        told(tried);
    })?;
    Ok(tried
        .into_iter()
        .map(|tried| (tried.mutant as usize, tried))
        .collect())
}

/// Prints what came of it, and says whether it is good enough.
fn conclude(arguments: &Arguments, results: &Results<'_>, mistakes: &[String]) -> bool {
    for mutant in results.unreached_of_sample() {
        println!("unreached: {mutant}");
    }
    let unreached: Vec<&Mutant> = results.unreached().collect();
    if arguments.only.is_empty() {
        for mutant in &unreached {
            println!("no case comes to: {mutant}");
        }
    }
    for mistake in mistakes {
        println!("irrelevant.yaml: {mistake}");
    }
    println!("\n{}", results.table());
    for (kind, count) in results.listed() {
        println!("{count} of the sample are listed as {kind:?}");
    }
    let (_, total) = results.rows();
    let enough = 100.0 * total.share() >= arguments.least;
    if !arguments.only.is_empty() {
        return mistakes.is_empty();
    }
    println!(
        "{} rules are reached by no case where all have to be",
        unreached.len()
    );
    enough && unreached.is_empty() && mistakes.is_empty()
}
