"""``temper study``: a declared matrix of attacks, poison rates, defences and seeds, run, resumed, tabulated and drawn."""
