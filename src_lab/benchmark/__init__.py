"""How fast sleep is: what sleeps (`workloads`), what it takes (`measure`), and how that is shown (`report`)."""
