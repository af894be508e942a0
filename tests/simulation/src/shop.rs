//! The whole deployment: five services, several instances each, on one log.

use std::sync::Arc;

use orderlog_domain::{
    billing::Billing, customers::Customers, inventory::Inventory, notifications::Notifications, orders::Orders,
};
use orderlog_eventlog::EventLog;
use orderlog_runtime::assembly;
use tokio::sync::watch;

use crate::{
    instance::{Instances, Service, Victim},
    world::World,
};

pub struct Shop {
    pub world: Arc<World>,
    pub customers: Instances<Customers>,
    pub orders: Instances<Orders>,
    pub inventory: Instances<Inventory>,
    pub billing: Instances<Billing>,
    pub notifications: Instances<Notifications>,
    /// Nothing goes wrong any more.
    pub healed: watch::Sender<bool>,
    /// Whether what is dead may be started again.
    pub may_start: watch::Sender<bool>,
}

impl Shop {
    /// A deployment of one or two instances of each service, now and then three.
    pub async fn open(world: &Arc<World>) -> Arc<Self> {
        let prepared = world.log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await;
        prepared.expect("an empty log takes all topics");
        // In some worlds a new program is being rolled out.
        let is_rollout = world.draw(|chance| chance.of_1000(400));
        let n_instances: &[usize] = if is_rollout { &[1, 2, 2, 3] } else { &[1, 1, 2, 2, 2, 3] };
        let n = || world.draw(|chance| chance.one_of(n_instances).copied()).unwrap_or(1);
        let shop = Arc::new(Self {
            world: Arc::clone(world),
            customers: Instances::new(n()),
            orders: Instances::new(n()),
            inventory: Instances::new(n()),
            billing: Instances::new(n()),
            notifications: Instances::new(n()),
            healed: watch::Sender::new(false),
            may_start: watch::Sender::new(true),
        });
        for victim in shop.victims().iter().filter(|_| is_rollout && world.draw(|chance| chance.of_1000(400))) {
            victim.install_older(world);
        }
        shop.customers.keep_running(&shop);
        shop.orders.keep_running(&shop);
        shop.inventory.keep_running(&shop);
        shop.billing.keep_running(&shop);
        shop.notifications.keep_running(&shop);
        shop
    }

    pub fn victims(&self) -> Vec<Arc<dyn Victim>> {
        fn all<D: Service>(of: &Instances<D>) -> impl Iterator<Item = Arc<dyn Victim>> {
            of.0.iter().map(|instance| Arc::clone(instance) as Arc<dyn Victim>)
        }
        all(&self.customers)
            .chain(all(&self.orders))
            .chain(all(&self.inventory))
            .chain(all(&self.billing))
            .chain(all(&self.notifications))
            .collect()
    }
}
