module shimmy/bench/injector/load

go 1.24
