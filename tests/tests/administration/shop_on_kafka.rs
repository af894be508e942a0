//! All services in one process, on topics of their own, and the rights of whoever administers the brokers.

use std::path::{Path, PathBuf};

use orderlog_tests::{
    deployment::{Said, Server, free_port, kafka, orderlog},
    kcat::{self, Published},
    story::Shop,
};
use rdkafka::{ClientConfig, admin::AdminClient, client::DefaultClientContext};

pub struct ShopOnKafka {
    dir: tempfile::TempDir,
    prefix: String,
    server: Option<Server>,
}

impl ShopOnKafka {
    pub async fn start() -> Self {
        let mut shop = Self::stopped();
        shop.restart().await;
        shop
    }

    /// One that was never started, so that it has no topics.
    pub fn stopped() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, prefix: format!("a{}.", uuid::Uuid::new_v4().simple()), server: None }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the program on the topics and the data folder.
    pub async fn orderlog(&self, args: &[&str]) -> Said {
        let place = self.place();
        let args: Vec<&str> = args.iter().copied().chain(place.iter().map(String::as_str)).collect();
        orderlog(&args, &self.data()).await
    }

    /// The options that choose its topics.
    fn place(&self) -> Vec<String> {
        let log = format!("kafka://{}", kafka());
        ["--log", &log, "--topic-prefix", &self.prefix, "--development-hash-key"].map(str::to_owned).to_vec()
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        let args = [self.place(), vec!["--data".to_owned(), self.data().display().to_string()]].concat();
        self.server = Some(Server::start(&args, free_port(), &self.dir.path().join("log")).await);
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            assert!(server.stop().await);
        }
    }

    pub fn shop(&self) -> Shop {
        Shop::from(&self.server.as_ref().unwrap().http)
    }

    /// The id of a customer with two confirmed orders, of one unit of tea and of two.
    pub async fn customer_with_orders(&self) -> String {
        let shop = self.shop();
        shop.receive("tea", 100).await;
        let ada = shop.customer("Ada").await;
        let orders = [shop.order(&ada, &[("tea", 1)]).await, shop.order(&ada, &[("tea", 2)]).await];
        for order in &orders {
            shop.order_becomes(order, "confirmed", "unpaid").await;
        }
        ada
    }

    /// What the processes have logged.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The name of a topic or group on the brokers.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn read(&self, topic: &str) -> Vec<Published> {
        kcat::read(&self.name(topic))
    }
}

pub fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka()).create().unwrap()
}
