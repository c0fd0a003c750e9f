"""Programs that use Temper as its users do."""
