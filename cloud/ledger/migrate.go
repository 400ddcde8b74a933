package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed schema/*.sql
var schema embed.FS

// versions is the only table without a migration of its own. It holds one row for the ledger and
// one for each set of derived tables.
const versions = `create table if not exists versions (name text not null primary key, version bigint not null)`

// migrate brings the tables called name to the newest of the numbered files schema/*.sql, each in its
// own transaction, and refuses tables that a newer program has written.
func migrate(ctx context.Context, db *sql.DB, name string, files fs.FS) error {
	names, err := fs.Glob(files, "schema/*.sql")
	if err != nil {
		return err
	}
	slices.Sort(names)
	if _, err := db.ExecContext(ctx, versions); err != nil {
		return fmt.Errorf("schema of %s: %w", name, err)
	}
	version, err := schemaVersion(ctx, db, name)
	if err != nil {
		return err
	}
	if version > len(names) {
		return newerError(name, version, len(names))
	}
	for i := version; i < len(names); i++ {
		script, err := fs.ReadFile(files, names[i])
		if err != nil {
			return err
		}
		if err := step(ctx, db, name, i+1, string(script)); err != nil {
			return fmt.Errorf("schema of %s: %s: %w", name, names[i], err)
		}
	}
	return nil
}

func step(ctx context.Context, db *sql.DB, name string, version int, script string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, script); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		insert into versions (name, version) values ($1, $2)
		on conflict (name) do update set version = excluded.version`, name, version)
	if err != nil {
		return err
	}
	return tx.Commit()
}

func schemaVersion(ctx context.Context, db *sql.DB, name string) (version int, err error) {
	err = db.QueryRowContext(ctx, `select version from versions where name = $1`, name).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("schema of %s: %w", name, err)
	}
	return version, nil
}

func newerError(name string, found, known int) error {
	return fmt.Errorf("schema of %s: version %d was written by newer software than this, which knows %d: update this program or restore the backup made before the update", name, found, known)
}
