//! SQL that a person writes, over the read models of several services at once. It can only read.
//!
//! Each read model is attached under its service's name and read at one position. Until it is closed, a running server can't shorten
//! its write-ahead log.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{
    Batch, Connection, ErrorCode, OpenFlags, Statement,
    fallible_iterator::FallibleIterator,
    hooks::{AuthAction, AuthContext, Authorization},
    types::ValueRef,
};

pub use rusqlite::types::Value;

use crate::{
    error::StoreError,
    opening::{BUSY, has_wal},
    origin::Origin,
    views::{self, IS_OURS},
};

/// Pragmas that show what there is to query. All others are refused.
const PRAGMAS: [&str; 4] = ["database_list", "table_info", "table_list", "table_xinfo"];

/// The file of a service's serving generation.
#[derive(Debug)]
pub struct ServingFile {
    pub service: &'static str,
    pub(crate) file: PathBuf,
    /// Whether a process is writing it.
    pub is_written: bool,
    /// Keeps others from writing it, if nobody does.
    pub(crate) _lock: Option<Arc<File>>,
}

impl ServingFile {
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Returns the URI that opens the file read-only. Without a write-ahead log and a writer, SQLite creates no other file.
    fn uri(&self) -> Result<String, StoreError> {
        let failed = |source| StoreError::Folder { path: self.file.clone(), source };
        let path = fs::canonicalize(&self.file).map_err(failed)?;
        let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let immutable = if self.is_written || has_wal(&self.file) { "" } else { "&immutable=1" };
        Ok(format!("file:{path}?mode=ro{immutable}"))
    }
}

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error("there is no statement")]
    Empty,
    #[error("there is more than one statement")]
    Several,
    #[error("the statement has parameters: write the values themselves")]
    Parameters,
    /// The statement would do more than read.
    #[error("{0} is not allowed: statements can only read")]
    Refused(String),
    /// SQLite can't run the statement, and says why.
    #[error("{0}")]
    Wrong(String),
    #[error("the statement was interrupted")]
    Interrupted,
    #[error(transparent)]
    Rows(#[from] StoreError),
}

/// How far a read model has read its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAt {
    pub service: &'static str,
    /// Every record below this offset is in the rows.
    pub position: u64,
}

/// Read models that are open for statements.
pub struct Sql {
    connection: Connection,
    files: Vec<ServingFile>,
    read_at: Vec<ReadAt>,
    /// Why the statement that is being prepared is refused.
    refused: Arc<Mutex<Option<String>>>,
}

impl Sql {
    /// Opens read models, each at its current position.
    ///
    /// # Errors
    /// [`StoreError`] if one can't be read.
    pub fn open(files: Vec<ServingFile>) -> Result<Self, StoreError> {
        let origin = Origin { file: PathBuf::from("the read models") };
        let failed = |error| origin.refused("opening read models", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(":memory:", flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        for file in &files {
            let attached = connection.execute("attach ? as ?", [file.uri()?.as_str(), file.service]);
            attached.map_err(|error| Origin::new(&file.file).refused("opening the rows", error))?;
        }
        connection.execute_batch("begin").map_err(failed)?;
        let read_at = files.iter().map(|file| read_at(&connection, file)).collect::<Result<_, _>>()?;
        let sql = Self { connection, files, read_at, refused: Arc::default() };
        sql.show_all_abouts().map_err(failed)?;
        let refused = Arc::clone(&sql.refused);
        let authorizer = move |context: AuthContext<'_>| match beyond_reading(&context.action) {
            None => Authorization::Allow,
            Some(what) => {
                refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
                Authorization::Deny
            }
        };
        sql.connection.authorizer(Some(authorizer)).map_err(failed)?;
        Ok(sql)
    }

    /// Makes `about_view` without a service's name show all of them.
    fn show_all_abouts(&self) -> rusqlite::Result<()> {
        let with_views = self.objects(&format!("{IS_OURS} and name = '{}'", views::ABOUT))?;
        let all: Vec<_> =
            with_views.iter().map(|(service, view)| format!("select * from \"{service}\".{view}")).collect();
        if all.is_empty() {
            return Ok(());
        }
        let text = format!("create temp view {} as {}", views::ABOUT, all.join(" union all "));
        self.connection.execute_batch(&text)
    }

    /// Returns where each read model is read.
    pub fn read_at(&self) -> &[ReadAt] {
        &self.read_at
    }

    /// Whether a server writes any of the read models meanwhile.
    pub fn is_served(&self) -> bool {
        self.files.iter().any(|file| file.is_written)
    }

    /// Returns a function that interrupts the statement that runs.
    pub fn interrupter(&self) -> impl Fn() + Send + use<> {
        let handle = self.connection.get_interrupt_handle();
        move || handle.interrupt()
    }

    /// Returns the views, as `service.view`.
    ///
    /// # Errors
    /// [`SqlError`] if they can't be read.
    pub fn views(&self) -> Result<Vec<String>, SqlError> {
        let views = self.objects(IS_OURS).map_err(|error| self.wrong(error))?;
        Ok(views.into_iter().map(|(service, view)| format!("{service}.{view}")).collect())
    }

    /// Returns the columns of all views, without repetitions.
    ///
    /// # Errors
    /// [`SqlError`] if they can't be read.
    pub fn columns(&self) -> Result<Vec<String>, SqlError> {
        let read = || {
            let mut columns = BTreeSet::new();
            for (service, view) in self.objects(IS_OURS)? {
                let mut statement = self.connection.prepare("select name from pragma_table_info(?, ?)")?;
                let names = statement.query_map([view.as_str(), service], |row| row.get(0))?;
                columns.extend(names.collect::<rusqlite::Result<Vec<String>>>()?);
            }
            Ok(columns.into_iter().collect())
        };
        read().map_err(|error| self.wrong(error))
    }

    /// Returns what meets a condition in `sqlite_schema`, with its service.
    fn objects(&self, condition: &str) -> rusqlite::Result<Vec<(&'static str, String)>> {
        let mut found = Vec::new();
        for ServingFile { service, .. } in &self.files {
            let text = format!("select name from \"{service}\".sqlite_schema where {condition} order by rowid");
            let mut statement = self.connection.prepare(&text)?;
            let names = statement.query_map([], |row| row.get(0))?;
            found.extend(names.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().map(|name| (*service, name)));
        }
        Ok(found)
    }

    /// Begins one statement.
    ///
    /// # Errors
    /// [`SqlError`] if it is wrong or does more than read.
    pub fn query(&self, text: &str) -> Result<Answer<'_>, SqlError> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut batch = Batch::new(&self.connection, text);
        let statement = batch.next().map_err(|error| self.wrong(error))?.ok_or(SqlError::Empty)?;
        match batch.next() {
            Ok(None) if statement.parameter_count() > 0 => Err(SqlError::Parameters),
            Ok(None) if statement.column_count() == 0 => Err(SqlError::Refused("a statement without rows".to_owned())),
            Ok(None) => Ok(Answer { sql: self, statement }),
            Ok(Some(_)) | Err(_) => Err(SqlError::Several),
        }
    }

    fn wrong(&self, error: rusqlite::Error) -> SqlError {
        if let Some(what) = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return SqlError::Refused(what);
        }
        match error {
            rusqlite::Error::SqliteFailure(code, _) if code.code == ErrorCode::OperationInterrupted => {
                SqlError::Interrupted
            }
            rusqlite::Error::SqliteFailure(_, Some(message)) => SqlError::Wrong(message),
            other => SqlError::Wrong(other.to_string()),
        }
    }
}

/// Reads the position of an attached read model, which pins it.
fn read_at(connection: &Connection, ServingFile { service, file, .. }: &ServingFile) -> Result<ReadAt, StoreError> {
    let origin = Origin::new(file);
    let next = connection.query_row(&format!("select next from \"{service}\".meta"), [], |row| row.get(0));
    let position = origin.counted(next.map_err(|error| origin.refused("reading the position", error))?)?;
    Ok(ReadAt { service, position })
}

/// Returns what an action of a statement does beyond reading what is open, if anything.
fn beyond_reading(action: &AuthAction<'_>) -> Option<String> {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => None,
        AuthAction::Function { function_name } if !function_name.eq_ignore_ascii_case("load_extension") => None,
        AuthAction::Pragma { pragma_name, .. } if PRAGMAS.contains(&&*pragma_name.to_ascii_lowercase()) => None,
        AuthAction::Function { function_name } => Some(format!("{function_name}()")),
        AuthAction::Pragma { pragma_name, .. } => Some(format!("pragma {pragma_name}")),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Some("opening or closing other files".to_owned()),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Some("a transaction".to_owned()),
        _ => Some("a change".to_owned()),
    }
}

/// A statement that has begun.
pub struct Answer<'a> {
    sql: &'a Sql,
    statement: Statement<'a>,
}

impl Answer<'_> {
    pub fn columns(&self) -> Vec<String> {
        self.statement.column_names().into_iter().map(str::to_owned).collect()
    }

    /// Passes each row to `take` until that breaks.
    ///
    /// # Errors
    /// [`SqlError`], also after some rows.
    pub fn each(mut self, mut take: impl FnMut(Vec<Value>) -> ControlFlow<()>) -> Result<(), SqlError> {
        let n_columns = self.statement.column_count();
        let mut rows = self.statement.raw_query();
        while let Some(row) = rows.next().map_err(|error| self.sql.wrong(error))? {
            let values = (0..n_columns).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>();
            if take(values.map_err(|error| self.sql.wrong(error))?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}
