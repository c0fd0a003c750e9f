"""What makes the audit log append-only, as SQL of each database. Run by the migration that makes the tables.

Covers: whoever has the service's own rights in the database, such as an injected statement. Does not cover: an
operator of the database, who may drop a trigger.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

DAY_S: Final = 86_400
_NOW: Final = "((julianday('now') - 2440587.5) * 86400.0)"

STATEMENTS: Final[Mapping[str, Sequence[str]]] = {
    "sqlite": (
        "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log"
        " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
        "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log"
        " WHEN OLD.at >= coalesce((SELECT before FROM audit_horizon WHERE id = 1), 0)"
        " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
        "CREATE TRIGGER audit_horizon_in_the_past BEFORE INSERT ON audit_horizon"
        f" WHEN NEW.before > {_NOW} - {DAY_S}"
        " BEGIN SELECT RAISE(ABORT, 'a day of the audit log is always kept'); END",
        "CREATE TRIGGER audit_horizon_stays_in_the_past BEFORE UPDATE ON audit_horizon"
        f" WHEN NEW.before > {_NOW} - {DAY_S}"
        " BEGIN SELECT RAISE(ABORT, 'a day of the audit log is always kept'); END",
    ),
    "postgresql": (
        """CREATE FUNCTION audit_log_guard() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                IF OLD.at < coalesce((SELECT before FROM audit_horizon WHERE id = 1), 0) THEN
                    RETURN OLD;
                END IF;
            END IF;
            RAISE EXCEPTION 'the audit log is append-only';
        END $$""",
        """CREATE FUNCTION audit_horizon_guard() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.before > extract(epoch from clock_timestamp())::double precision - 86400 THEN
                RAISE EXCEPTION 'a day of the audit log is always kept';
            END IF;
            RETURN NEW;
        END $$""",
        "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log"
        " FOR EACH ROW EXECUTE FUNCTION audit_log_guard()",
        "CREATE TRIGGER audit_log_not_truncated BEFORE TRUNCATE ON audit_log"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_log_guard()",
        "CREATE TRIGGER audit_horizon_in_the_past BEFORE INSERT OR UPDATE ON audit_horizon"
        " FOR EACH ROW EXECUTE FUNCTION audit_horizon_guard()",
    ),
}
