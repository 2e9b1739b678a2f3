//! One life of an engine: start, clients, an operator, a reader, an end.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use stepwell_engine::{Engine, EngineError, Health, Snapshot};
use stepwell_env::{Disk, Env, JoinHandle, spawn};

use crate::{
    client,
    dice::Dice,
    model::{Moment, Seen},
    operator,
    plan::Kind,
    reader, reading, rot,
    world::{End, World},
};

/// Simulated time after which whoever still waits for something waits for ever.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// What the threads of a life share.
pub(crate) struct Life {
    pub(crate) world: Arc<World>,
    pub(crate) number: u64,
    pub(crate) how: End,
    pub(crate) engine: Engine,
    stop: AtomicBool,
    /// What each thread is waiting for, and since when.
    doing: Mutex<BTreeMap<String, (String, Duration)>>,
}

/// Present for as long as something is being done.
pub(crate) struct Doing<'a>(&'a Life, String);

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        self.0.doing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Life {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Says what a thread waits for, so that it is noticed if that never ends.
    pub(crate) fn doing(&self, thread: &str, what: &str) -> Doing<'_> {
        let since = self.world.simulation.now();
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).insert(thread.to_owned(), (what.to_owned(), since));
        Doing(self, thread.to_owned())
    }

    fn check_patience(&self) -> Result<(), String> {
        let now = self.world.simulation.now();
        let doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        match doing.iter().find(|(_, (_, since))| now - *since > PATIENCE) {
            None => Ok(()),
            Some((thread, (what, since))) => {
                let waiters = self.world.simulation.waiters();
                Err(format!(
                    "{thread} waits for ever: {what}, since {since:?}, now {now:?}; health {:?}, {:?}; {waiters}",
                    self.engine.health(),
                    self.engine.stats()
                ))
            }
        }
    }

    /// Takes a snapshot and compares all it shows with the model, in one step. Returns the points.
    pub(crate) fn check(&self, dice: &Dice, moment: Moment) -> Option<(Snapshot, Vec<Seen>)> {
        let mut model = self.world.model();
        let snapshot = self.engine.snapshot();
        let points = match reading::all_points(&snapshot, &model.all_series, dice) {
            Ok(points) => points,
            Err(error) => {
                // What a start could not read stays unknown for this life.
                model.is_damaged |= moment == Moment::Start;
                drop(model);
                self.not_read("a snapshot could not be read", &error);
                return None;
            }
        };
        let checked = model.check(&points, snapshot.lsn().0, moment);
        let all = model.all_series.clone();
        drop(model);
        self.world.expect(checked);
        self.world.tally().checks += 1;
        if moment == Moment::Start || dice.once_in(2) {
            match reading::check_derived(&snapshot, &points, &all, dice) {
                Ok(derived) => self.world.expect(derived),
                Err(error) => self.not_read("nothing was damaged", &error),
            }
        }
        self.check_stats();
        Some((snapshot, points))
    }

    /// A snapshot may fail to be read while the disk fails, and then only.
    pub(crate) fn not_read(&self, what: &str, error: &EngineError) {
        let is_excused = self.how != End::Last && may_be_damaged(&self.world);
        stepwell_env::note(|| format!("{what}: {error}"));
        self.world.expect(if is_excused { Ok(()) } else { Err(format!("I11: {what}: {error}")) });
    }

    /// Budgets hold (I9); the state is counted.
    fn check_stats(&self) {
        let (stats, health, config) = (self.engine.stats(), self.engine.health(), self.world.plan.config());
        let kind = match health {
            Health::Ready => 0,
            Health::Poisoned { .. } => 1,
            Health::DiskFull { .. } => 2,
            Health::FlushFails { .. } => 3,
        };
        let files = self.world.disk().files();
        let log_files = files.iter().filter(|(path, _)| path.extension().is_some_and(|ending| ending == "wal")).count();
        let mut hasher = DefaultHasher::new();
        (kind, stats.frozen_generations, stats.segments.min(8), stats.compaction_is_due).hash(&mut hasher);
        (stats.flush_failures > 0, stats.compaction_failures > 0, stats.damaged > 0, log_files.min(4))
            .hash(&mut hasher);
        (stats.queue_bytes > 0, stats.memtable_points > 0, self.world.model().deletions().min(3)).hash(&mut hasher);
        self.world.tally().states.insert(hasher.finish());
        // An active generation grows past its size by what one group and one block of each series take; one more may be frozen by
        // the shutdown.
        let generations = config.frozen_max as u64 + 2;
        let most = generations * (config.memtable_bytes as u64 + (4 << 20));
        if stats.memtable_bytes > most || stats.frozen_generations > config.frozen_max as u64 + 1 {
            self.world.expect(Err(format!("I9: memory for {most} bytes holds {stats:?}")));
        }
        if stats.queue_bytes > config.queue_bytes as u64 + 40_000 {
            self.world.expect(Err(format!("I9: a queue of {} bytes holds {}", config.queue_bytes, stats.queue_bytes)));
        }
    }
}

/// The body of a life's process.
pub(crate) fn live(world: &Arc<World>, number: u64, how: End) {
    let dice = Dice::new(world.plan.seed, 1_000 + number);
    if how != End::Last {
        operator::choose_trouble(world, &dice);
    }
    let before = dice.once_in(3).then(|| points_read_only(world, &dice)).flatten();
    let engine = open(world, &dice);
    world.model().is_damaged = engine.stats().damaged > 0;
    if world.model().is_damaged && !may_be_damaged(world) {
        world.expect(Err("I11: damage is reported, and there is none".to_owned()));
    }
    let life = Arc::new(Life {
        world: world.clone(),
        number,
        how,
        engine,
        stop: AtomicBool::new(false),
        doing: Mutex::default(),
    });
    let after = life.check(&dice, Moment::Start);
    if let (Some(before), Some((_, after))) = (before, after)
        && !world.model().is_damaged
    {
        let sorted = |mut points: Vec<Seen>| {
            points.sort_by_key(|point| point.lsn);
            points
        };
        let is_same = sorted(before) == sorted(after);
        world.expect(if is_same { Ok(()) } else { Err("I7: a second recovery found other points".to_owned()) });
    }
    let threads = start_threads(&life);
    wait_for_end(&life, &dice);
    finish(&life, threads, &dice);
}

/// Whether a file may have failed to open for a moment, which counts as damage.
fn may_be_damaged(world: &World) -> bool {
    world.plan.has(Kind::Map) || world.plan.has(Kind::Read)
}

fn env(world: &World) -> Env {
    world.simulation.env(Arc::new(world.disk()) as Arc<dyn Disk>)
}

/// What a reader beside nobody finds; `None` if the disk does not let it.
fn points_read_only(world: &World, dice: &Dice) -> Option<Vec<Seen>> {
    if may_be_damaged(world) {
        return None;
    }
    let engine = Engine::open_read_only(env(world), world.plan.config()).ok()?;
    reading::all_points(&engine.snapshot(), &world.model().all_series.clone(), dice).ok()
}

/// Opens the engine; what the disk makes fail is tried again, and works once the disk does.
fn open(world: &World, dice: &Dice) -> Engine {
    for _ in 0..1 + dice.below(4) {
        match Engine::open(env(world), world.plan.config()) {
            Ok(engine) => return engine,
            Err(error) => stepwell_env::note(|| format!("open: {error}")),
        }
    }
    world.calm_disk();
    Engine::open(env(world), world.plan.config()).unwrap_or_else(|error| {
        world.simulation.fail(format!("I7: the engine does not start on a disk that works: {error}"));
        unreachable!("a failed simulation unwinds")
    })
}

type Threads = Vec<(String, JoinHandle<()>)>;

fn start_threads(life: &Arc<Life>) -> Threads {
    let mut threads: Threads = Vec::new();
    let mut start = |name: String, body: fn(&Life, usize), number: usize| {
        let inside = life.clone();
        match spawn(&name, move || body(&inside, number)) {
            Ok(thread) => threads.push((name, thread)),
            Err(error) => life.world.expect(Err(format!("no thread: {error}"))),
        }
    };
    for number in 0..life.world.plan.clients as usize {
        start(format!("client-{number}"), client::run, number);
    }
    start("operator".to_owned(), operator::run, 0);
    start("reader".to_owned(), reader::run, 0);
    threads
}

/// Lets the life go on for a while; the last one until the clients have nothing left to send.
fn wait_for_end(life: &Life, dice: &Dice) {
    let simulation = &life.world.simulation;
    let until = simulation.now() + dice.duration(Duration::from_millis(*dice.pick(&[50, 1_000, 10_000, 40_000])));
    let deadline = simulation.now() + 2 * PATIENCE;
    loop {
        simulation.sleep(Duration::from_millis(20));
        life.world.expect(life.check_patience());
        let is_over = match life.how {
            End::Last => client::is_all_settled(&life.world),
            _ => simulation.now() >= until,
        };
        if is_over {
            return;
        }
        if simulation.now() > deadline {
            let (health, stats) = (life.engine.health(), life.engine.stats());
            life.world.expect(Err(format!("on a disk that works, batches are not taken: {health:?}, {stats:?}")));
        }
    }
}

fn finish(life: &Arc<Life>, threads: Threads, dice: &Dice) {
    let world = &life.world;
    let shuts_down_first = life.how != End::Last && dice.once_in(2);
    life.stop.store(true, Ordering::Release);
    if shuts_down_first {
        shut_down(life);
    }
    for (_, thread) in threads {
        // Whoever waits is given time, while somebody looks at the clock.
        while !thread.is_finished() {
            world.simulation.sleep(Duration::from_millis(50));
            world.expect(life.check_patience());
        }
        drop(thread.join());
    }
    if !shuts_down_first {
        life.check(dice, Moment::Later);
        if life.how == End::Last {
            flush_all(life);
            life.check(dice, Moment::Later);
        }
        if world.plan.has(Kind::Rot) && dice.once_in(2) {
            rot::try_one(life, dice);
        }
        shut_down(life);
    }
    if life.how == End::Last {
        check_twice(world, dice);
    }
}

fn flush_all(life: &Life) {
    let flushed = life.engine.flush();
    life.world.expect(flushed.map_err(|error| format!("on a disk that works, a flush fails: {error}")));
    life.engine.wait_for_compaction();
    let health = life.engine.health();
    life.world.expect(if health == Health::Ready { Ok(()) } else { Err(format!("nothing is wrong, and {health:?}")) });
}

fn shut_down(life: &Life) {
    let _doing = life.doing("main", "a shutdown");
    let done = life.engine.shutdown();
    life.world.expect(done.map_err(|error: EngineError| format!("a shutdown fails: {error}")));
}

/// After the last life: what is read without a change is what a start finds, twice (I7).
fn check_twice(world: &Arc<World>, dice: &Dice) {
    for _ in 0..2 {
        world.model().begin_life();
        let engine = Engine::open(env(world), world.plan.config());
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => return world.expect(Err(format!("I7: after the last life: {error}"))),
        };
        let doing = Mutex::default();
        let life = Life { world: world.clone(), number: 0, how: End::Last, engine, stop: AtomicBool::new(true), doing };
        life.check(dice, Moment::Start);
        shut_down(&life);
        world.model().end_life();
    }
}
