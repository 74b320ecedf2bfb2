//! Every function of the store on a real database, and what it promises when something goes wrong.

mod backups;
mod requests;
mod rows;
mod whole;
mod world;
