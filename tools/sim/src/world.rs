//! A world from its first life to its last.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stepwell_env::{Disk, DiskOperation, DiskTrouble, SimDisk, SimFailure, SimFault, Simulation};

use crate::{
    client::ClientState,
    dice::Dice,
    life,
    model::Model,
    plan::{Kind, Plan},
    tally::Tally,
};

/// Turns after which a world is taken for one without end.
const TURNS_MAX: u64 = 3_000_000;

/// What came of a world.
#[derive(Debug, Clone)]
pub struct WorldReport {
    pub failure: Option<SimFailure>,
    pub tally: Tally,
    /// The same whenever the same plan runs.
    pub trace_hash: u64,
}

/// What outlives a life.
pub(crate) struct World {
    pub(crate) simulation: Simulation,
    pub(crate) plan: Plan,
    disk: Mutex<SimDisk>,
    /// Held across reads of snapshots, which may come to the disk.
    model: stepwell_env::Mutex<Model>,
    tally: Mutex<Tally>,
    /// Of each client, what it has not heard the end of.
    clients: Mutex<Vec<ClientState>>,
}

/// Plain locks: none of these is held where another thread may get its turn.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn model(&self) -> stepwell_env::MutexGuard<'_, Model> {
        self.model.lock()
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    pub(crate) fn client(&self, number: usize) -> ClientState {
        lock(&self.clients)[number].clone()
    }

    pub(crate) fn put_client(&self, number: usize, state: ClientState) {
        lock(&self.clients)[number] = state;
    }

    pub(crate) fn disk(&self) -> SimDisk {
        lock(&self.disk).clone()
    }

    /// A disk that does what it says, unless the plan says otherwise.
    pub(crate) fn no_trouble(&self) -> DiskTrouble {
        DiskTrouble { lies: self.plan.has(Kind::Lie), ..DiskTrouble::default() }
    }

    /// Nothing more goes wrong by chance, and there is space.
    pub(crate) fn calm_disk(&self) {
        let disk = self.disk();
        disk.set_trouble(self.no_trouble());
        disk.inject(SimFault::NoLimit);
    }

    /// Ends the world as failed if something is wrong.
    pub(crate) fn expect(&self, result: Result<(), String>) {
        if let Err(wrong) = result {
            self.simulation.fail(wrong);
        }
    }

    /// Puts what the disk did into the totals; before it is replaced.
    fn count_disk(&self) {
        let disk = self.disk();
        let (slow, full) = disk.slow_and_full();
        let mut tally = self.tally();
        for (operation, times) in disk.failures() {
            tally.fault(format!("{operation:?}").to_lowercase(), times);
        }
        tally.operations += disk.operations();
        tally.fault(Kind::Slow, slow);
        tally.fault(Kind::Full, full);
    }

    fn lose_power(&self, seed: u64) {
        self.count_disk();
        let after = self.disk().crash(seed);
        *lock(&self.disk) = after;
    }
}

/// Runs the world of a plan.
pub fn run_world(plan: &Plan) -> WorldReport {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let kept = tally.clone();
    let (result, report) = Simulation::run(plan.seed, TURNS_MAX, |simulation| {
        let clients = vec![ClientState { unsettled: VecDeque::new(), next_sequence: 1 }; plan.clients as usize];
        let world = Arc::new(World {
            simulation: simulation.clone(),
            plan: plan.clone(),
            disk: Mutex::new(SimDisk::seeded(plan.seed)),
            model: stepwell_env::Mutex::new(Model::new()),
            tally: Mutex::default(),
            clients: Mutex::new(clients),
        });
        // Kept also if the body unwinds.
        let keep = Keep { world: world.clone(), kept };
        live_all(&world);
        drop(keep);
    });
    let mut tally = std::mem::take(&mut *lock(&tally));
    tally.worlds = 1;
    tally.turns = report.turns;
    tally.simulated = report.simulated;
    WorldReport { failure: result.err(), tally, trace_hash: report.trace_hash }
}

struct Keep {
    world: Arc<World>,
    kept: Arc<Mutex<Tally>>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.world.count_disk();
        let model = self.world.model();
        let mut tally = std::mem::take(&mut *self.world.tally());
        tally.batches_acked = model.acked;
        tally.duplicates = model.duplicates;
        tally.refused = model.refused;
        *lock(&self.kept) = tally;
    }
}

fn live_all(world: &Arc<World>) {
    let dice = Dice::new(world.plan.seed, 4);
    // The directory's entry is the file system's business; the binary makes it before it locks it.
    world.expect(world.disk().create_dir_all(Path::new("data")).map_err(|error| error.to_string()));
    for number in 0..world.plan.lives {
        let how = End::choose(&world.plan, &dice);
        run_life(world, number, how, &dice);
        if dice.once_in(2) {
            world.calm_disk();
        }
    }
    world.calm_disk();
    run_life(world, world.plan.lives, End::Last, &dice);
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In order, after a while.
    Shutdown,
    /// Its threads end at some turn.
    Kill,
    /// The same, and the disk forgets.
    Power,
    /// In order, once all clients have heard that their batches are there; nothing goes wrong.
    Last,
}

impl End {
    fn choose(plan: &Plan, dice: &Dice) -> Self {
        let mut ends = vec![Self::Shutdown];
        if plan.has(Kind::Kill) {
            ends.extend([Self::Kill; 2]);
        }
        if plan.has(Kind::Power) {
            ends.extend([Self::Power; 3]);
        }
        *dice.pick(&ends)
    }
}

fn run_life(world: &Arc<World>, number: u64, how: End, dice: &Dice) {
    world.model().begin_life();
    world.tally().lives += 1;
    let inside = world.clone();
    let started = world.simulation.start_process("main", move || life::live(&inside, number, how));
    let process = match started {
        Ok(process) => process,
        Err(error) => return world.expect(Err(format!("no thread: {error}"))),
    };
    if matches!(how, End::Kill | End::Power) {
        // Early, within recovery, as often as late; and where what is done by halves matters most.
        process.kill_after(1 + dice.below(*dice.pick(&[50, 300, 1_500])));
        if dice.once_in(2) {
            world.disk().kill_at(Some((*dice.pick(&DiskOperation::ALL), dice.below(*dice.pick(&[3, 10, 30])))));
        }
    }
    let was_killed = process.wait();
    world.disk().kill_at(None);
    stepwell_env::note(|| format!("life {number} ends: {how:?}, killed: {was_killed}"));
    world.model().end_life();
    if was_killed && how == End::Power {
        world.tally().losses_of_power += 1;
        world.lose_power(dice.any());
    } else if was_killed {
        world.tally().kills += 1;
    }
}
