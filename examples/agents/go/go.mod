module example.org/parrot

go 1.19
