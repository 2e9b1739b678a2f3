//! Making a failing world smaller.

use crate::plan::Plan;

/// The smallest plan found that still fails, after at most `tries` runs: fewer kinds of trouble, batches, lives and clients. A smaller
/// world is another world, so what is left may fail for another reason; it fails.
pub fn shrink(plan: Plan, tries: usize, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut smallest = plan;
    let mut left = tries;
    let mut attempt = |plan: &Plan| {
        if left == 0 {
            return false;
        }
        left -= 1;
        fails(plan)
    };
    loop {
        let before = smallest.clone();
        for candidate in smaller(&smallest) {
            if attempt(&candidate) {
                smallest = candidate;
                break;
            }
        }
        if smallest == before {
            return smallest;
        }
    }
}

/// Plans a little smaller, the most promising first.
fn smaller(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    let (half, kinds): (usize, Vec<_>) = (plan.kinds.len() / 2, plan.kinds.iter().copied().collect());
    if half > 1 {
        for part in [&kinds[..half], &kinds[half..]] {
            plans.push(Plan { kinds: part.iter().copied().collect(), ..plan.clone() });
        }
    }
    for less in [plan.batches / 2, plan.batches * 3 / 4] {
        if less > 0 {
            plans.push(Plan { batches: less, ..plan.clone() });
        }
    }
    if plan.lives > 0 {
        plans.push(Plan { lives: plan.lives - 1, ..plan.clone() });
    }
    if plan.clients > 1 {
        plans.push(Plan { clients: plan.clients - 1, ..plan.clone() });
    }
    for kind in kinds {
        let mut fewer = plan.kinds.clone();
        fewer.remove(&kind);
        plans.push(Plan { kinds: fewer, ..plan.clone() });
    }
    plans
}
