#!/bin/sh
# Make Temporal's databases, or bring them to this version. Doing it again changes nothing.
# SQL_HOST, SQL_USER, SQL_PASSWORD and SQL_PLUGIN are read by the tool itself.
set -eu

schemas=/etc/temporal/schema/postgresql/v12

migrate() {
  export SQL_DATABASE="$1"
  temporal-sql-tool create-database
  temporal-sql-tool setup-schema --version 0.0
  temporal-sql-tool update-schema --schema-dir "$2"
}

migrate temporal "$schemas/temporal/versioned"
migrate temporal_visibility "$schemas/visibility/versioned"
