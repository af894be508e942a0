//! Instances of services: started by the very code that the program starts them with, crashed and started again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use orderlog_core::{decider::Decider, key::HashKey, known::Unknown};
use orderlog_domain::{
    billing::{self, Billing},
    customers::{self, Customers},
    inventory::{self, Event, Inventory},
    notifications::{self, Notifications},
    orders::{self, Orders},
};
use orderlog_eventlog::EventLog;
use orderlog_history::{Ask, Refusal};
use orderlog_readmodel::{MemoryRows, Tables};
use orderlog_runtime::{
    assembly::{self, Assembled, AssemblyError},
    background::Troubles,
    delivery::{self, Target},
    environment::Environment,
    replica::{Replica, Setup, StartError, State},
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{life::Life, link::Link, meaning, notifier, rows::SimulatedRows, shop::Shop, world::World};

/// The secret of every deployment here.
pub const SECRET: &str = "simulated";
/// The group of the inventory's deliveries, as the program calls it.
pub const DELIVERIES: &str = "orderlog.inventory.deliveries";
/// So few keys are kept in memory that rows are loaded all the time.
const N_SLOTS_MAX: usize = 8;
/// How long somebody waits before starting what could not be started.
const AGAIN: Duration = Duration::from_millis(300);
/// How soon it is started again once everything is healed. Not sooner: one that always stops would be started without end.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A service's replica under simulation.
pub type SimulatedReplica<D> = Replica<D, SimulatedRows<D>>;

/// A service, and what belongs to it besides what all have.
pub trait Service: Decider {
    const TABLES: &'static Tables<Self>;
    /// Kinds of events that came with newer programs; older ones lack one or two neighbours of these.
    const NEWER: Unknown;

    /// What tells two commands apart.
    fn fingerprint(command: &Self::Command) -> String;

    /// The command, as the checker knows it; `None` for what no caller can ask.
    fn meaning(command: &Self::Command) -> Option<Ask>;

    /// The refusal, as the checker knows it.
    fn refusal(rejection: &Self::Rejection) -> Refusal;

    /// Put an id into a command that needs a minted one. Each attempt has its own, as the edge gives each request its own.
    fn remint(command: &mut Self::Command, id: Uuid);

    /// The id of what an event made.
    fn made(event: &Self::Event) -> Option<Uuid>;

    /// Where it is found.
    fn of(shop: &Shop) -> &Instances<Self>;

    /// Start the duties that only this service has.
    fn perform(
        _assembled: &Assembled<Self, SimulatedRows<Self>>,
        _link: &Arc<Link>,
        _shop: &Arc<Shop>,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

macro_rules! service {
    ($service:ident, $place:ident, $newer:expr, ($meaning:path, $refusal:path), $remint:expr, $made:expr) => {
        impl Service for $service {
            const TABLES: &'static Tables<Self> = &orderlog_projections::$place::TABLES;
            const NEWER: Unknown = &$newer;

            fn fingerprint(command: &Self::Command) -> String {
                command.fingerprint_text()
            }

            fn meaning(command: &Self::Command) -> Option<Ask> {
                $meaning(command)
            }

            fn refusal(rejection: &Self::Rejection) -> Refusal {
                $refusal(rejection)
            }

            fn remint(command: &mut Self::Command, id: Uuid) {
                $remint(command, id);
            }

            fn made(event: &Self::Event) -> Option<Uuid> {
                $made(event)
            }

            fn of(shop: &Shop) -> &Instances<Self> {
                &shop.$place
            }
        }
    };
}

service!(
    Customers,
    customers,
    ["customer_updated", "customer_deactivated", "customer_unchanged"],
    (meaning::of_customers, meaning::by_customers),
    |command: &mut customers::Command, id| if let customers::Command::Create { customer_id, .. } = command {
        customer_id.0 = id;
    },
    |event: &customers::Event| Some(event.customer().customer_id.0)
);
service!(
    Orders,
    orders,
    ["order_rejected", "order_cancelled", "order_marked_refunded", "order_fulfilled", "order_reaction_declined"],
    (meaning::of_orders, meaning::by_orders),
    |command: &mut orders::Command, id| if let orders::Command::Place { order_id, .. } = command {
        order_id.0 = id;
    },
    |event: &orders::Event| Some(event.order_id().0)
);
service!(
    Billing,
    billing,
    ["invoice_refunded", "invoice_voided", "invoice_filled_in", "reaction_declined"],
    (meaning::of_billing, meaning::by_billing),
    |command: &mut billing::Command, id| if let billing::Command::RecordPayment { payment_id, .. } = command {
        payment_id.0 = id;
    },
    |_: &billing::Event| None
);
service!(
    Notifications,
    notifications,
    ["notification_read", "notification_already_read", "notification_already_made"],
    (meaning::of_notifications, meaning::by_notifications),
    |command: &mut notifications::Command, id| if let notifications::Command::Notify { notification_id, .. } = command {
        notification_id.0 = id;
    },
    |event: &notifications::Event| Some(event.notification_id().0)
);

impl Service for Inventory {
    const TABLES: &'static Tables<Self> = &orderlog_projections::inventory::TABLES;
    const NEWER: Unknown = &[
        "stock_adjusted",
        "threshold_set",
        "reservation_rejected",
        "reservation_repeated",
        "reservation_released",
        "reservation_expired",
        "reservation_committed",
        "reservation_cancelled",
        "reservation_declined",
    ];

    fn fingerprint(command: &Self::Command) -> String {
        command.fingerprint_text()
    }

    fn meaning(command: &Self::Command) -> Option<Ask> {
        meaning::of_inventory(command)
    }

    fn refusal(rejection: &Self::Rejection) -> Refusal {
        meaning::by_inventory(rejection)
    }

    fn remint(_: &mut Self::Command, _: Uuid) {}

    fn made(_: &Event) -> Option<Uuid> {
        None
    }

    fn of(shop: &Shop) -> &Instances<Self> {
        &shop.inventory
    }

    async fn perform(assembled: &Assembled<Self, SimulatedRows<Self>>, link: &Arc<Link>, shop: &Arc<Shop>) {
        let Assembled { replica, .. } = assembled;
        let troubles = Troubles::default();
        let Ok(deliveries) = link.lead(DELIVERIES, Self::JOURNAL).await else { return };
        let notifier = Arc::new(notifier::Deliveries::new(shop));
        assembly::perform(
            &deliveries,
            &troubles,
            "deliveries",
            replica,
            move |replica: SimulatedReplica<Self>, lease| {
                let target = Target { notifier: notifier.clone(), journal: Notifications::JOURNAL };
                delivery::run(replica, lease, target, inventory::notice_of)
            },
        );
    }
}

/// A process that runs.
pub struct Running<D: Decider> {
    /// To ask it.
    pub replica: SimulatedReplica<D>,
    /// To kill it.
    pub life: Arc<Life>,
}

impl<D: Decider> Clone for Running<D> {
    fn clone(&self) -> Self {
        Self { replica: self.replica.clone(), life: Arc::clone(&self.life) }
    }
}

/// One instance: its rows outlive its processes.
pub struct Instance<D: Decider> {
    /// The service and the instance's number.
    pub name: String,
    /// Its rows.
    pub rows: MemoryRows<D>,
    life: Mutex<Option<Arc<Life>>>,
    running: Mutex<Option<Running<D>>>,
    /// How long it stays away after its next death, in milliseconds.
    away_ms: watch::Sender<u64>,
    /// How long it stays away after that, even if nothing goes wrong any more.
    late_ms: watch::Sender<u64>,
    /// What the program that is installed does not know. It runs from the next start on.
    unknown: Mutex<Unknown>,
}

fn locked<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Decider> Instance<D> {
    /// The process, if it is up and takes commands or will.
    pub fn running(&self) -> Option<Running<D>> {
        locked(&self.running).clone().filter(|running| !running.life.is_dead())
    }
}

/// All instances of a service.
pub struct Instances<D: Decider>(pub Vec<Arc<Instance<D>>>);

impl<D: Service> Instances<D> {
    /// So many, none of which runs yet.
    pub fn new(n: usize) -> Self {
        let new = |number| {
            Arc::new(Instance {
                name: format!("{}.{number}", D::JOURNAL),
                rows: MemoryRows::new(D::TABLES),
                life: Mutex::default(),
                running: Mutex::default(),
                away_ms: watch::Sender::new(0),
                late_ms: watch::Sender::new(0),
                unknown: Mutex::default(),
            })
        };
        Self((1..=n).map(new).collect())
    }

    /// Start each, and again whenever it dies or stops.
    pub fn keep_running(&self, shop: &Arc<Shop>) {
        for instance in &self.0 {
            shop.world.spawn(keep_running(Arc::clone(instance), Arc::clone(shop)));
        }
    }
}

async fn keep_running<D: Service>(instance: Arc<Instance<D>>, shop: Arc<Shop>) {
    let world = Arc::clone(&shop.world);
    loop {
        let life = Life::begin_without(&world, &instance.name, *locked(&instance.unknown));
        world.count_older(life.is_older());
        *locked(&instance.life) = Some(Arc::clone(&life));
        let ended = async {
            match start(&instance, &life, &shop).await {
                Ok(replica) => {
                    let mut state = replica.state();
                    *locked(&instance.running) = Some(Running { replica, life: Arc::clone(&life) });
                    drop(state.wait_for(|state| matches!(state, State::Stopped(_))).await);
                    let why = format!("stops: {:?}", *state.borrow());
                    world.note(&instance.name, why);
                }
                Err(AssemblyError::Replica(StartError::OtherHistory { why, .. })) => {
                    world.note(&instance.name, format_args!("refuses its rows: {why}"));
                    instance.rows.delete();
                }
                Err(error) => {
                    world.note(&instance.name, format_args!("can't start: {error}"));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = life.died() => {}
            () = ended => life.kill(),
        }
        *locked(&instance.running) = None;
        lose_unsynced(&instance, &world);
        let away = *instance.away_ms.borrow();
        let healed = async { drop(shop.healed.subscribe().wait_for(|healed| *healed).await) };
        tokio::select! {
            biased;
            () = healed => tokio::time::sleep(AT_ONCE).await,
            () = tokio::time::sleep(Duration::from_millis(away.max(1))) => {}
        }
        tokio::time::sleep(Duration::from_millis(instance.late_ms.send_replace(0))).await;
        drop(shop.may_start.subscribe().wait_for(|may| *may).await);
    }
}

async fn start<D: Service>(
    instance: &Instance<D>,
    life: &Arc<Life>,
    shop: &Arc<Shop>,
) -> Result<SimulatedReplica<D>, AssemblyError> {
    let link = Link::new(Arc::clone(life));
    let rows = Arc::new(SimulatedRows::new(instance.rows.clone(), Arc::clone(life)));
    let assembled = assembly::start_on::<D, _>(setup(life, link.clone()), rows, &Troubles::default()).await?;
    D::perform(&assembled, &link, shop).await;
    Ok(assembled.replica)
}

/// How an instance is set up.
pub fn setup(life: &Arc<Life>, log: Arc<dyn EventLog>) -> Setup {
    let hash_key = HashKey::from_secret(SECRET);
    let (writer, environment) = (life.mint(), Arc::clone(life) as Arc<dyn Environment>);
    Setup { log, hash_key, writer, n_slots_max: N_SLOTS_MAX, environment }
}

fn lose_unsynced<D: Service>(instance: &Instance<D>, world: &Arc<World>) {
    let n_unsynced = instance.rows.n_unsynced() as u64;
    let n_kept = world.draw(|chance| chance.between(0, n_unsynced));
    instance.rows.lose_unsynced(usize::try_from(n_kept).unwrap_or_default());
    if n_kept < n_unsynced {
        world.note(&instance.name, format_args!("loses {} transactions of its rows", n_unsynced - n_kept));
    }
}

/// What can be done to an instance, whichever service it is of.
pub trait Victim: Send + Sync {
    /// Its process, dead or alive.
    fn life(&self) -> Option<Arc<Life>>;

    /// It dies, and is away for so long.
    fn crash(&self, away_ms: u64);

    /// The same, and it comes back so late whatever is mended meanwhile.
    fn come_late(&self, late_ms: u64);

    /// Its rows are deleted while it is dead.
    fn delete_rows(&self);

    /// Its next process is of an older program, which one chance says.
    fn install_older(&self, world: &World);

    /// Its next process is of the newest program. Whether its last one was not.
    fn install_newest(&self) -> bool;

    /// An operator has it fold what is parked, if it runs.
    fn retry(&self);
}

impl<D: Service> Victim for Instance<D> {
    fn life(&self) -> Option<Arc<Life>> {
        locked(&self.life).clone()
    }

    fn crash(&self, away_ms: u64) {
        self.away_ms.send_replace(away_ms);
        if let Some(life) = self.life() {
            life.pause(false);
            life.kill();
        }
    }

    fn come_late(&self, late_ms: u64) {
        self.late_ms.send_replace(late_ms);
        self.crash(1);
    }

    fn delete_rows(&self) {
        self.crash(100);
        self.rows.delete();
    }

    fn install_older(&self, world: &World) {
        let n = world.draw(|chance| chance.between(1, 2));
        let from = world.draw(|chance| chance.below(D::NEWER.len() as u64 + 1 - n));
        let [from, to] = [from, from + n].map(|at| usize::try_from(at).unwrap_or_default());
        *locked(&self.unknown) = &D::NEWER[from..to];
    }

    fn install_newest(&self) -> bool {
        !std::mem::take(&mut *locked(&self.unknown)).is_empty()
    }

    fn retry(&self) {
        if let Some(Running { replica, life }) = self.running() {
            let asked = async move { drop(replica.retry().await) };
            life.spawn(asked.boxed());
        }
    }
}
