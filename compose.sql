CREATE DATABASE optuna; -- beside the one of MLflow, when compose.yaml's database is first set up
