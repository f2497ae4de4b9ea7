//! Every sequence of operations, shortest first, until nothing new comes or a bound is met.
//!
//! Invariant: a state is expanded once; a state that breaks a promise is reported, and expanded only if asked for.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use ringfence_nt::WriteClass;
use ringfence_nt::fs::{Caller, FileSystem};

use crate::operation::{Operation, open_to};
use crate::promise::{Original, Promise, unswept};
use crate::state::{Rights, key};
use crate::world::World;

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest sequence.
    pub depth: usize,
    /// How many objects the target may have made at a time.
    pub made: usize,
    /// How many further names files may have at a time.
    pub links: usize,
    /// How many states are expanded at most.
    pub states: usize,
    /// What becomes of a state that breaks a promise.
    pub beyond: Beyond,
}

/// What becomes of a state that breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is not expanded.
    Stop,
    /// It is expanded like any other: for learning which other promises fail.
    GoOn,
}

/// Whether everything within the bounds on objects and names was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// No further state exists.
    Whole,
    /// Every sequence up to the depth was tried.
    Depth,
    /// It stopped at the bound on states.
    Cut,
}

/// A sequence that breaks a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The steps, in order.
    pub steps: Vec<String>,
    /// What is broken about what.
    pub broken: String,
}

/// What a search saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// The world's name.
    pub world: String,
    /// The hypothesis.
    pub class: WriteClass,
    /// States expanded or found broken.
    pub states: usize,
    /// Operations that were carried out.
    pub operations: usize,
    /// The longest sequence.
    pub depth: usize,
    /// How much was seen.
    pub extent: Extent,
    /// The shortest counterexample of each promise that does not hold.
    pub broken: BTreeMap<Promise, Counterexample>,
}

impl Report {
    /// Whether every promise holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            world,
            class,
            states,
            operations,
            depth,
            extent,
            broken,
        } = self;
        write!(
            formatter,
            "{world} under {class:?}: {states} states, {operations} operations, depth {depth}, {extent:?}"
        )?;
        for (promise, example) in broken {
            write!(formatter, "\n  BROKEN: {promise}: {}", example.broken)?;
            for step in &example.steps {
                write!(formatter, "\n    {step}")?;
            }
        }
        Ok(())
    }
}

/// A state with the way to it.
struct Reached {
    fs: FileSystem,
    depth: usize,
    /// Into the list of steps taken.
    last: Option<usize>,
}

/// A step taken, with the one before it.
struct Taken {
    step: String,
    before: Option<usize>,
}

/// Lets the world's target do everything.
#[must_use]
pub fn search(world: &World, class: WriteClass, bounds: &Bounds) -> Report {
    let mut rights = Rights::new(&world.target, class);
    let mut start = world.fs.clone();
    keep_descriptors(&mut rights, &mut start);
    let mut search = Search::new(world, class, rights, &start);
    search.beyond = bounds.beyond;
    search.visit(start, 0, None, None);
    let mut extent = Extent::Whole;
    while let Some(reached) = search.queue.pop_front() {
        if reached.depth >= bounds.depth {
            extent = Extent::Depth;
            continue;
        }
        if search.report.states >= bounds.states {
            extent = Extent::Cut;
            break;
        }
        search.expand(&reached, bounds);
    }
    for (promise, broken) in world.broken_by_objects(class) {
        let example = Counterexample {
            steps: Vec::new(),
            broken,
        };
        search.report.broken.entry(promise).or_insert(example);
    }
    search.report.extent = extent;
    search.report
}

struct Search<'a> {
    world: &'a World,
    class: WriteClass,
    beyond: Beyond,
    original: Original,
    rights: Rights<'a>,
    seen: HashSet<u128>,
    queue: VecDeque<Reached>,
    taken: Vec<Taken>,
    report: Report,
}

impl<'a> Search<'a> {
    fn new(world: &'a World, class: WriteClass, rights: Rights<'a>, start: &FileSystem) -> Self {
        Self {
            world,
            class,
            beyond: Beyond::Stop,
            original: Original::of(world, start),
            rights,
            seen: HashSet::new(),
            queue: VecDeque::new(),
            taken: Vec::new(),
            report: Report {
                world: world.name.clone(),
                class,
                states: 0,
                operations: 0,
                depth: 0,
                extent: Extent::Whole,
                broken: BTreeMap::new(),
            },
        }
    }

    fn expand(&mut self, reached: &Reached, bounds: &Bounds) {
        let caller = Caller {
            token: &self.world.target,
            class: self.class,
        };
        let fs = &reached.fs;
        let operations = open_to(self.world, fs, &self.original, &mut self.rights, bounds);
        for operation in operations {
            let Ok(mut after) = operation.carry_out(fs, &caller) else {
                continue;
            };
            self.report.operations += 1;
            keep_descriptors(&mut self.rights, &mut after);
            let step = Some((fs, &operation));
            self.visit(after, reached.depth + 1, reached.last, step);
        }
    }

    /// Judges a state that was not seen before and queues it.
    fn visit(
        &mut self,
        fs: FileSystem,
        depth: usize,
        before: Option<usize>,
        step: Option<(&FileSystem, &Operation)>,
    ) {
        let key = key(&fs, &self.original, &mut self.rights);
        if !self.seen.insert(key) {
            return;
        }
        self.report.states += 1;
        self.report.depth = self.report.depth.max(depth);
        let last = match step {
            Some((from, operation)) => {
                self.taken.push(Taken {
                    step: operation.describe(from),
                    before,
                });
                Some(self.taken.len() - 1)
            }
            None => None,
        };
        let judged = self.judge(&fs);
        let is_broken = !judged.is_empty();
        for (promise, broken) in judged {
            if !self.report.broken.contains_key(&promise) {
                let steps = self.steps(last);
                let example = Counterexample { steps, broken };
                self.report.broken.insert(promise, example);
            }
        }
        if is_broken && self.beyond == Beyond::Stop {
            return;
        }
        self.queue.push_back(Reached { fs, depth, last });
    }

    fn judge(&mut self, fs: &FileSystem) -> Vec<(Promise, String)> {
        let mut broken = self.original.broken(fs, &mut self.rights);
        broken.extend(unswept(self.world, fs, self.class));
        broken
    }

    fn steps(&self, mut last: Option<usize>) -> Vec<String> {
        let mut steps = Vec::new();
        while let Some(taken) = last.and_then(|index| self.taken.get(index)) {
            steps.push(taken.step.clone());
            last = taken.before;
        }
        steps.reverse();
        steps
    }
}

/// Makes equal descriptors one, so that they are compared by address from here on.
fn keep_descriptors(rights: &mut Rights<'_>, fs: &mut FileSystem) {
    let strange: Vec<_> = fs
        .nodes()
        .filter_map(|(id, node)| {
            let kept = rights.keep(&node.descriptor);
            (!Arc::ptr_eq(&kept, &node.descriptor)).then_some((id, kept))
        })
        .collect();
    for (id, kept) in strange {
        if let Some(node) = fs.node_mut(id) {
            node.descriptor = kept;
        }
    }
}
