mod desk;
mod grants;
mod machine;
mod machine_faults;
mod people;
mod steps;
